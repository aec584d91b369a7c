//! What the socket speaks: gRPC messages in, domain types through, statuses out. tonic's types stay in here.
//!
//! # Layout
//! - [`request_id`]: names each call; [`limits`]: identity, rate, room, deadline.
//! - [`health`], [`reflection`]: what every gRPC server has.

pub mod health;
pub mod limits;
pub mod reflection;
pub mod request_id;
