//! What the parts refuse, as the API tells it.

use crate::api::SourceError;
use crate::delivery::FlushFailure;
use crate::hit_log::HitLogError;
use crate::lambda::HookError;
use crate::latest::LatestError;
use crate::retry::describe;
use crate::stream::StreamError;

use super::reload::ReloadError;
use super::reload::SwitchError;

impl From<StreamError> for SourceError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Unknown { .. } => SourceError::Unknown,
            StreamError::PartitionKey(_) | StreamError::RecordTooLarge(_) => {
                SourceError::Refused(error.to_string())
            }
            StreamError::Locked(_) | StreamError::NoKey { .. } => {
                SourceError::Busy(error.to_string())
            }
            error => SourceError::Failed(describe(&error)),
        }
    }
}

impl From<LatestError> for SourceError {
    fn from(error: LatestError) -> Self {
        match error {
            LatestError::Unknown(_) | LatestError::UnknownKey { .. } => SourceError::Unknown,
            error => SourceError::Failed(describe(&error)),
        }
    }
}

impl From<FlushFailure> for SourceError {
    fn from(error: FlushFailure) -> Self {
        match error {
            FlushFailure::Unknown => SourceError::Unknown,
            FlushFailure::Failed(_) => SourceError::Failed(error.to_string()),
            FlushFailure::TakesLong => SourceError::Unsettled(error.to_string()),
        }
    }
}

impl From<HookError> for SourceError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Unknown(_) => SourceError::Unknown,
            error => SourceError::Failed(describe(&error)),
        }
    }
}

impl From<ReloadError> for SourceError {
    fn from(error: ReloadError) -> Self {
        SourceError::Busy(error.to_string())
    }
}

impl From<HitLogError> for SourceError {
    fn from(error: HitLogError) -> Self {
        SourceError::Failed(describe(&error))
    }
}

impl From<SwitchError> for SourceError {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::Unknown => SourceError::Unknown,
            SwitchError::Full | SwitchError::Stopping => SourceError::Busy(error.to_string()),
            SwitchError::Failed(reason) => SourceError::Failed(reason),
        }
    }
}
