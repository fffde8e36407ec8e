//! The clock is set forward while the process runs.

use super::*;

#[test]
fn a_step_of_the_clock_neither_fires_nor_delays() {
    check(hold(10), "T@0 leap@4..1000 .@1005", "");
    check(hold(10), "T@0 leap@4..1000 .@1006", "fire@1006/0x1");
    check(hold(10), "T@0 leap@4..1000 leap@1002..5000 .@5004", "fire@5004/0x1");
    check(hold(10), "T@0 .@10 leap@12..1000 T@1001 F@1002", "fire@10/0x1 false@1002/0x2");
    // What was due before the step is told as of then.
    check(hold(10), "T@0 leap@10..1000", "fire@10/0x1");
}

#[test]
fn a_step_is_left_out_of_every_clock_of_a_firing_key() {
    let clear = Plan { clear_for: 5, ..hold(10) };
    check(clear, "T@0 F@20 leap@22..100 .@102", "fire@10/0x1");
    check(clear, "T@0 F@20 leap@22..100 .@103", "fire@10/0x1 false@103/0x1");
    let gap = Plan { gap: Some((5, false)), ..hold(2) };
    check(gap, "T@0 leap@3..100 .@102", "fire@2/0x1");
    check(gap, "T@0 leap@3..100 .@103", "fire@2/0x1 gap@102/0x1");
    let repeat = Plan { repeat: Some(5), ..hold(10) };
    check(repeat, "T@0 leap@12..100 .@104", "fire@10/0x1 fire@103/0x1");
}

#[test]
fn a_step_is_no_downtime_whatever_on_restart_says() {
    for on_restart in [OnRestart::Count, OnRestart::Reset] {
        let when = When { on_restart, ..when(&hold(10)) };
        check_when(when, "T@0 leap@4..1000 .@1006", "fire@1006/0x1");
    }
}

#[test]
fn a_message_from_before_the_step_counts_as_of_its_end() {
    check(hold(10), "leap@4..1000 T@3 .@1009", "");
    check(hold(10), "leap@4..1000 T@3 .@1010", "fire@1010/1000x1");
}

#[test]
fn a_step_is_on_disk_with_the_keys_that_left_it_out() {
    check(hold(10), "T@0 leap@4..1000 down@1002..5000 .@5003", "");
    check(hold(10), "T@0 leap@4..1000 down@1002..5000 .@5004", "fire@5004/0x1");
}
