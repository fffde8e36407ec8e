//! hit_log
