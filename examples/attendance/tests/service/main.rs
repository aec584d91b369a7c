//! The service as it is started by hand: a process with a key centre of its own, asked over HTTP and by a browser.

mod dump;
mod page;
mod requests;
mod running;
mod starting;
