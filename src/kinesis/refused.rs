//! Operations that make no sense on one machine: each is answered with what to do instead.

use super::fault::Fault;
use super::shape::Ignored;

/// Why an operation is not done, and what is done instead.
pub(super) fn refuse(_: Ignored, instead: &str) -> Fault {
    Fault::new("UnsupportedOperationException", instead)
}

/// Of PutResourcePolicy, GetResourcePolicy and DeleteResourcePolicy.
pub(super) const POLICIES: &str = "This gateway has no resource policies. Who may use streams is said by its access keys: \
     [access_key.ID] in the configuration.";
/// Of UpdateStreamRecordDistributionStrategy.
pub(super) const DISTRIBUTION: &str =
    "Records of this gateway's streams go to shards by their partition keys (USER_PARTITION_KEY).";
/// Of UpdateStreamWarmThroughput.
pub(super) const WARM_THROUGHPUT: &str = "Streams of this gateway need no warming: an on-demand stream takes what the disk takes at once.";
/// Of DescribeAccountSettings and UpdateAccountSettings.
pub(super) const ACCOUNT: &str = "This gateway has no account settings: what it may hold is said by DescribeLimits and its \
     configuration.";
