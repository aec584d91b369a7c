//! What each command does, one file each.

pub mod crypt;
pub mod key;
pub mod policy;
pub mod tenant;
