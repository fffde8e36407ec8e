//! The built binary and its parts against real clients.

mod broker;
mod command_line;
mod fake_source;
mod web;
