"""Operating the deployment: maintenance, backup and restore, migrations, configuration, tests."""
