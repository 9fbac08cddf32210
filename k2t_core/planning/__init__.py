"""Graph → Plan: what every call of a Keras layer becomes."""
