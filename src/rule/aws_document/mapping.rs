//! Which AWS action becomes what, and what becomes of its members.
//!
//! The names are those of the AWS IoT API (`Action` and the structures it refers to). The table in
//! docs/aws.md is this one; a test compares them.

/// An action of AWS IoT.
#[derive(Debug)]
pub struct Mapping {
    /// Its name in the API, such as `kinesis`.
    pub action: &'static str,
    /// The action it becomes; `None` when it is not carried over.
    pub becomes: Option<&'static str>,
    /// What its members become. Empty when it is not carried over.
    pub members: &'static [(&'static str, Fate)],
    /// What to use instead when it is not carried over.
    pub instead: &'static str,
}

/// What becomes of a member of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Must be there, and is carried over.
    Needed,
    /// Carried over.
    Carried,
    /// Means nothing outside of AWS.
    Dropped,
    /// Not carried over; what to do instead.
    Left(&'static str),
}

use Fate::Carried;
use Fate::Dropped;
use Fate::Left;
use Fate::Needed;

const ROLE: (&str, Fate) = ("roleArn", Dropped);
/// What stands where an action is not carried over.
const HOOK_INSTEAD: &str = "INVOKE a hook that passes the record on";

/// Every action, in the order of the documentation.
pub const MAPPINGS: &[Mapping] = &[
    Mapping {
        action: "kinesis",
        becomes: Some("STREAM"),
        members: &[("streamName", Needed), ("partitionKey", Carried), ROLE],
        instead: "",
    },
    Mapping {
        action: "firehose",
        becomes: Some("DELIVER"),
        members: &[
            ("deliveryStreamName", Needed),
            ("batchMode", Carried),
            ("separator", Carried),
            ROLE,
        ],
        instead: "",
    },
    Mapping {
        action: "s3",
        becomes: Some("DELIVER"),
        members: &[
            ("bucketName", Needed),
            ("key", Left("a delivery collects records and names its files by what is in them")),
            ("cannedAcl", Dropped),
            ROLE,
        ],
        instead: "",
    },
    Mapping {
        action: "lambda",
        becomes: Some("INVOKE"),
        members: &[("functionArn", Needed)],
        instead: "",
    },
    Mapping {
        action: "http",
        becomes: Some("INVOKE"),
        members: &[
            ("url", Needed),
            ("confirmationUrl", Dropped),
            ("headers", Left("declare them in tidegate.toml, under [hook.NAME.headers]")),
            ("auth", Left("declare fixed headers in tidegate.toml, under [hook.NAME.headers]")),
            ("enableBatching", Left("a hook is called once a record")),
            ("batchConfig", Left("a hook is called once a record")),
        ],
        instead: "",
    },
    Mapping {
        action: "republish",
        becomes: Some("REPUBLISH"),
        members: &[("topic", Needed), ("qos", Carried), ("headers", Carried), ROLE],
        instead: "",
    },
    Mapping {
        action: "cloudwatchLogs",
        becomes: Some("LOG"),
        members: &[
            ("logGroupName", Dropped),
            ("batchMode", Left("LOG writes one line a record")),
            ROLE,
        ],
        instead: "",
    },
    Mapping {
        action: "dynamoDB",
        becomes: Some("UPSERT"),
        members: &[
            ("tableName", Needed),
            ("hashKeyValue", Needed),
            ("hashKeyType", Carried),
            ("hashKeyField", Dropped),
            ("rangeKeyValue", Carried),
            ("rangeKeyType", Carried),
            ("rangeKeyField", Dropped),
            ("payloadField", Left("the value of the key is the record itself")),
            ("operation", Carried),
            ROLE,
        ],
        instead: "",
    },
    Mapping {
        action: "dynamoDBv2",
        becomes: Some("UPSERT"),
        members: &[("putItem", Needed), ROLE],
        instead: "",
    },
    left("sqs", "STREAM keeps records for consumers that read at their own pace"),
    left("sns", "REPUBLISH to a topic that those concerned subscribe to, or INVOKE a hook"),
    left("cloudwatchMetric", "the rule's own counters are at /metrics; values go out by STREAM"),
    left("cloudwatchAlarm", "WHEN … FOR … is an alarm: it fires, is cleared, and starts actions"),
    left("timestream", "STREAM, and a consumer that writes to the database"),
    left("influxDB", "STREAM, and a consumer that writes to the database"),
    left("kafka", "STREAM, and a consumer that writes to the topic"),
    left("elasticsearch", "DELIVER, and load the files; or INVOKE a hook that indexes the record"),
    left("openSearch", "DELIVER, and load the files; or INVOKE a hook that indexes the record"),
    left("stepFunctions", "INVOKE a hook that starts the execution"),
    left("iotAnalytics", "DELIVER writes the records to files"),
    left("iotEvents", "WHEN … FOR … watches a condition for each device"),
    left("iotSiteWise", HOOK_INSTEAD),
    left("location", HOOK_INSTEAD),
    left("salesforce", HOOK_INSTEAD),
];

/// Members of `headers` of `republish`: the name in AWS and in HEADERS.
pub const HEADERS: &[(&str, &str)] = &[
    ("payloadFormatIndicator", "payload_format"),
    ("contentType", "content_type"),
    ("responseTopic", "response_topic"),
    ("correlationData", "correlation_data"),
    ("messageExpiry", "message_expiry"),
    ("userProperties", "USER"),
];

const fn left(action: &'static str, instead: &'static str) -> Mapping {
    Mapping { action, becomes: None, members: &[], instead }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The row of docs/aws.md about `mapping`.
    fn documented(mapping: &Mapping) -> String {
        let Some(becomes) = mapping.becomes else {
            return format!("| `{}` | – | | {} |", mapping.action, mapping.instead);
        };
        let names = |wanted: fn(Fate) -> bool| {
            let names = mapping.members.iter().filter(|(_, fate)| wanted(*fate));
            names.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let carried = names(|fate| matches!(fate, Needed | Carried));
        let mut left = String::new();
        for (name, fate) in mapping.members {
            if let Left(instead) = fate {
                let semicolon = if left.is_empty() { "" } else { "; " };
                write!(left, "{semicolon}`{name}`: {instead}").expect("a String takes all");
            }
        }
        format!("| `{}` | `{becomes}` | {carried} | {left} |", mapping.action)
    }

    #[test]
    fn the_manual_lists_the_actions_as_the_table_has_them() {
        let manual = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/aws.md"));
        let rows: Vec<&str> = manual
            .lines()
            .skip_while(|line| *line != "| AWS action | here | carried over | instead |")
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        let table: Vec<String> = MAPPINGS.iter().map(documented).collect();
        assert_eq!(rows, table, "docs/aws.md should have:\n{}", table.join("\n"));
    }
}
