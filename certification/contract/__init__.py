"""The contract that a conforming deployment implements: document, problem catalogue, decoder."""
