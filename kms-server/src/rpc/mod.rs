//! What the socket speaks: gRPC messages in, domain types through, statuses out. tonic's types stay in here.
//!
//! # Layout
//! - [`request_id`]: names each call.

pub mod request_id;
