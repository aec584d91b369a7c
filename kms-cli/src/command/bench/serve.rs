//! The echo as a process: the TLS of a `dev` server beside it, its accept loop, its HTTP/2 settings.
