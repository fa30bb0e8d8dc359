"""A centralized remote-signing service: files here are the domain, folders are machinery (docs/architecture.md)."""
