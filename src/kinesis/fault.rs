//! How a request fails: with AWS's error types, statuses and words.

use axum::http::StatusCode;

use crate::limits::KINESIS_FINDINGS_MAX;
use crate::limits::KINESIS_QUOTED_CHARS_MAX;
use crate::storage::ExecuteError;
use crate::stream::StreamError;

/// An error as an SDK reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl Fault {
    /// 400, as nearly everything that a caller can mend.
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Fault {
        Fault { status: StatusCode::BAD_REQUEST, kind, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Fault {
        Fault::new("InvalidArgumentException", message)
    }

    pub(super) fn in_use(message: impl Into<String>) -> Fault {
        Fault::new("ResourceInUseException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Fault {
        Fault::new("ResourceNotFoundException", message)
    }

    pub(super) fn too_many(message: impl Into<String>) -> Fault {
        Fault::new("LimitExceededException", message)
    }

    /// A key of AWS KMS, which is one of the configuration here, is not there.
    pub(super) fn no_key(message: impl Into<String>) -> Fault {
        Fault::new("KMSNotFoundException", message)
    }

    /// 500: the outcome is unknown, and SDKs try again.
    pub(super) fn internal(message: impl Into<String>) -> Fault {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Fault { status, kind: "InternalFailure", message: message.into() }
    }

    /// 503: nothing was done, and SDKs try again.
    pub(super) fn unavailable(message: impl Into<String>) -> Fault {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Fault { status, kind: "ServiceUnavailable", message: message.into() }
    }
}

impl From<StreamError> for Fault {
    fn from(error: StreamError) -> Self {
        tracing::error!(error = %crate::retry::describe(&error), "a stream cannot be read");
        match error {
            StreamError::NoKey { .. } => Fault::no_key(error.to_string()),
            error => Fault::internal(error.to_string()),
        }
    }
}

impl From<ExecuteError> for Fault {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Closed => Fault::unavailable("the gateway is stopping"),
            ExecuteError::Failed(_) => {
                tracing::error!(error = %crate::retry::describe(&error), "a stream is as it was");
                Fault::internal(error.to_string())
            }
        }
    }
}

/// What is wrong with the members of a request, in AWS's words; all of it at once.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<String>);

impl Findings {
    /// Notes that `value` at `member` breaks a constraint.
    pub(super) fn add(&mut self, value: Option<&str>, member: &str, constraint: &str) {
        if self.0.len() >= KINESIS_FINDINGS_MAX {
            return;
        }
        let value = match value {
            Some(value) => format!("'{}'", shortened(value)),
            None => "null".to_owned(),
        };
        self.0.push(format!(
            "Value {value} at '{member}' failed to satisfy constraint: Member must {constraint}"
        ));
    }

    /// The member must be there.
    pub(super) fn needs<T>(&mut self, value: Option<&T>, member: &str) {
        if value.is_none() {
            self.add(None, member, "not be null");
        }
    }

    /// So many characters, if it is there.
    pub(super) fn length(&mut self, value: Option<&str>, member: &str, least: usize, most: usize) {
        let Some(value) = value else { return };
        let chars = value.chars().count();
        if chars > most {
            let constraint = format!("have length less than or equal to {most}");
            self.add(Some(value), member, &constraint);
        }
        if chars < least {
            let constraint = format!("have length greater than or equal to {least}");
            self.add(Some(value), member, &constraint);
        }
    }

    /// Between the two, if it is there.
    pub(super) fn range(&mut self, value: Option<i64>, member: &str, least: i64, most: i64) {
        let Some(value) = value else { return };
        if value > most {
            let constraint = format!("have value less than or equal to {most}");
            self.add(Some(&value.to_string()), member, &constraint);
        }
        if value < least {
            let constraint = format!("have value greater than or equal to {least}");
            self.add(Some(&value.to_string()), member, &constraint);
        }
    }

    /// Of the form, if it is there.
    pub(super) fn form(
        &mut self,
        value: Option<&str>,
        member: &str,
        pattern: &str,
        is_of: impl Fn(&str) -> bool,
    ) {
        if let Some(value) = value
            && !is_of(value)
        {
            let constraint = format!("satisfy regular expression pattern: {pattern}");
            self.add(Some(value), member, &constraint);
        }
    }

    /// One of the words, if it is there.
    pub(super) fn word(&mut self, value: Option<&str>, member: &str, words: &[&str]) {
        if let Some(value) = value
            && !words.contains(&value)
        {
            let constraint = format!("satisfy enum value set: [{}]", words.join(", "));
            self.add(Some(value), member, &constraint);
        }
    }

    /// Refuses the request if anything was noted.
    pub(super) fn finish(self) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let errors = if self.0.len() == 1 { "error" } else { "errors" };
        let message =
            format!("{} validation {errors} detected: {}", self.0.len(), self.0.join("; "));
        Err(Fault::new("ValidationException", message))
    }
}

/// As much of a value as a message quotes.
pub(super) fn shortened(value: &str) -> String {
    value.chars().take(KINESIS_QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_together_in_aws_words() {
        let mut findings = Findings::default();
        findings.needs(None::<&u8>, "data");
        findings.length(Some(""), "partitionKey", 1, 256);
        findings.length(Some("ü"), "partitionKey", 1, 256);
        findings.range(Some(0), "limit", 1, 10_000);
        findings.word(Some("X"), "shardIteratorType", &["LATEST", "TRIM_HORIZON"]);
        findings.form(Some("a b"), "streamName", "[a-zA-Z0-9_.-]+", |name| !name.contains(' '));
        let fault = findings.finish().unwrap_err();
        assert_eq!(fault.kind, "ValidationException");
        assert_eq!(
            fault.message,
            "5 validation errors detected: \
             Value null at 'data' failed to satisfy constraint: Member must not be null; \
             Value '' at 'partitionKey' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; \
             Value '0' at 'limit' failed to satisfy constraint: \
             Member must have value greater than or equal to 1; \
             Value 'X' at 'shardIteratorType' failed to satisfy constraint: \
             Member must satisfy enum value set: [LATEST, TRIM_HORIZON]; \
             Value 'a b' at 'streamName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
        let mut one = Findings::default();
        one.length(Some(&"x".repeat(5000)), "streamName", 1, 128);
        let message = one.finish().unwrap_err().message;
        assert!(message.starts_with("1 validation error detected: ") && message.len() < 1000);
    }
}
