"""The events that travel on the topics: one module per subject, and how they become bytes."""
