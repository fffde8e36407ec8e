//! The built binary and its parts against real clients.

mod access;
mod aws;
mod bad_input;
mod bounds;
mod broker;
mod clients;
mod command_line;
mod corpus;
mod crash;
mod daily;
mod dashboard;
mod diagnostics;
mod events;
mod fake_source;
mod formats;
mod hardship;
mod live;
mod main_job;
mod manual;
#[path = "../mqtt/mod.rs"]
mod mqtt;
mod reload;
mod reserved;
mod scenarios;
mod services;
mod sessions;
mod simulate;
mod stream_rules;
mod switches;
mod tables;
mod templates;
mod tidy;
mod transport;
mod types;
mod upstream;
mod web;
