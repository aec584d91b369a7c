//! The derive macro of `kms-client`.
