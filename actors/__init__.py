"""State and I/O: one mailbox each. No HTTP, no XML, no status codes."""
