//! The built binary against real clients.

mod command_line;
