//! The built binary and its parts against real clients.

mod bad_input;
mod broker;
mod browser;
mod clients;
mod command_line;
mod corpus;
mod crash;
mod diagnostics;
mod fake_source;
mod live;
mod main_job;
mod simulate;
mod tidy;
mod web;
