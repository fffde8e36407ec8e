//! The built binary and its parts against real clients.

mod broker;
mod browser;
mod command_line;
mod corpus;
mod fake_source;
mod simulate;
mod web;
