"""What the services promise each other and everybody: events, topics, phones, texts, scopes."""
