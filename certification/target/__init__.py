"""The side of the runner that knows one deployment: target file, client, identities, launcher."""
