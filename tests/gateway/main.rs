//! The built binary against real clients.

mod command_line;
mod fake_source;
mod web;
