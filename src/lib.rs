//! Tidegate: an IoT rules-engine gateway in one binary.
//!
//! A device publishes over MQTT, rules in a superset of AWS IoT SQL decide what matters (also over
//! time), and matches are committed to an embedded shard stream, a delivery buffer and hook calls
//! before the device gets its PUBACK. The modules below stand in the order in which a publish
//! meets them; `ARCHITECTURE.md` tells the story.

pub mod cli;
pub mod config;
pub mod demo;
pub mod gateway;

pub mod broker;
pub mod upstream;

pub mod access;

pub mod action;
pub mod engine;
pub mod rule;
pub mod rule_files;

pub mod journal;

pub mod checkpoint;
pub mod delivery;
pub mod hit_log;
pub mod lambda;
pub mod latest;
pub mod lease;
pub mod retained;
pub mod session;
pub mod stream;

pub mod api;
pub mod dashboard;
pub mod kinesis;

pub mod storage;

mod accept;
pub mod clock;
pub mod diagnostic;
mod json_line;
pub mod limits;
pub mod peer;
pub mod publish;
pub mod recording;
pub mod retry;
mod tls;
pub mod topic;
pub mod value;
