//! Any bytes as a request of the Kinesis API, the first of them for its operation and format: it is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::kinesis::probe;

fuzz_target!(|bytes: &[u8]| {
    probe(bytes);
});
