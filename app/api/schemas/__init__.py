"""The shapes of requests and answers: what the API checks, and what its description says."""
