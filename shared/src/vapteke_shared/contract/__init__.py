"""What the services promise to each other and to everybody: events, topics, limits, phones, texts, scopes."""
