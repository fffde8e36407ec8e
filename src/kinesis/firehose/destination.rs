//! What a delivery stream is asked to deliver to, as the API says it, and what that is here: a bucket is a folder.
//!
//! What was given is kept as JSON, word by word, and described so again; [`settings`] reads it. What this gateway does not do is
//! refused where it is asked for, not left out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use crate::config::Compression;
use crate::config::DeliveryConfig;
use crate::config::FieldPath;
use crate::config::Format;
use crate::config::ObjectPrefix;
use crate::config::ParquetConfig;
use crate::limits::DELIVERY_DELIMITER_BYTES_MAX;
use crate::limits::DELIVERY_PARTITION_KEYS_MAX;

const MIB: usize = 1024 * 1024;
/// The behaviour of Firehose where nothing is said.
const BUFFER_MIB: u64 = 5;
const BUFFER_SECS: u64 = 300;

/// `ExtendedS3DestinationConfiguration`, as far as it is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Bucket {
    #[serde(rename = "RoleARN")]
    role_arn: Option<String>,
    #[serde(rename = "BucketARN")]
    bucket_arn: Option<String>,
    prefix: Option<String>,
    error_output_prefix: Option<String>,
    buffering_hints: Option<Hints>,
    compression_format: Option<String>,
    encryption_configuration: Option<Encryption>,
    processing_configuration: Option<Processing>,
    s3_backup_mode: Option<String>,
    data_format_conversion_configuration: Option<Conversion>,
    dynamic_partitioning_configuration: Option<Switch>,
    file_extension: Option<String>,
    custom_time_zone: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Hints {
    #[serde(rename = "SizeInMBs")]
    size: Option<u64>,
    #[serde(rename = "IntervalInSeconds")]
    interval: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Encryption {
    #[serde(rename = "KMSEncryptionConfig")]
    kms: Option<Json>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Switch {
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Processing {
    enabled: Option<bool>,
    processors: Option<Vec<Processor>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Processor {
    r#type: String,
    parameters: Option<Vec<Parameter>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    parameter_name: String,
    parameter_value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Conversion {
    enabled: Option<bool>,
    output_format_configuration: Option<Output>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    serializer: Option<Serializer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Serializer {
    parquet_ser_de: Option<ParquetSerDe>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParquetSerDe {
    compression: Option<String>,
}

/// The settings of a delivery to the bucket that `destination` names, a folder in `root`.
///
/// # Errors
/// What is wrong with it, or not done here, in a sentence.
pub(crate) fn settings(
    destination: &Map<String, Json>,
    root: &Path,
) -> Result<DeliveryConfig, String> {
    let bucket: Bucket = serde_json::from_value(Json::Object(destination.clone()))
        .map_err(|error| format!("The destination cannot be read: {error}."))?;
    bucket.refuse()?;
    let mut config = DeliveryConfig {
        directory: Some(root.join(bucket.folder()?)),
        // Records stand behind one another, as Firehose writes them.
        format: Format::Raw { delimiter: String::new() },
        ..DeliveryConfig::default()
    };
    let hints = bucket.buffering_hints.as_ref();
    let size = hints.and_then(|hints| hints.size).unwrap_or(BUFFER_MIB);
    let interval = hints.and_then(|hints| hints.interval).unwrap_or(BUFFER_SECS);
    if !(1..=128).contains(&size) || interval > 900 {
        return Err("BufferingHints are 1 to 128 MB and 0 to 900 seconds.".to_owned());
    }
    config.buffer_bytes = usize::try_from(size).unwrap_or(128) * MIB;
    config.buffer_interval = Duration::from_secs(interval);
    if let Some(name) = &bucket.custom_time_zone {
        let zone = TimeZone::get(name).map_err(|_| format!("There is no time zone {name}."))?;
        config.time_zone = zone;
    }
    bucket.read_processing(&mut config)?;
    bucket.read_format(&mut config)?;
    bucket.read_prefixes(&mut config)?;
    Ok(config)
}

impl Bucket {
    /// What is asked for and not done here.
    fn refuse(&self) -> Result<(), String> {
        let refused = |what: &str| Err(format!("{what} is not supported by this gateway."));
        if self.role_arn.as_ref().is_none_or(|arn| !arn.starts_with("arn:")) {
            return Err("RoleARN is missing or no ARN.".to_owned());
        }
        if self.encryption_configuration.as_ref().is_some_and(|of| of.kms.is_some()) {
            return refused("KMSEncryptionConfig");
        }
        if self.s3_backup_mode.as_ref().is_some_and(|mode| mode != "Disabled") {
            return refused("S3BackupMode Enabled");
        }
        if self.file_extension.as_ref().is_some_and(|extension| !extension.is_empty()) {
            return refused("FileExtension");
        }
        Ok(())
    }

    /// The name of the bucket, which is that of a folder.
    fn folder(&self) -> Result<&str, String> {
        let arn = self.bucket_arn.as_deref().unwrap_or_default();
        let mut parts = arn.splitn(6, ':');
        let is_arn = parts.next() == Some("arn")
            && parts.next().is_some_and(|partition| partition.starts_with("aws"))
            && parts.next() == Some("s3")
            && parts.next() == Some("")
            && parts.next() == Some("");
        let name = parts.next().unwrap_or_default();
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_name = (3..=63).contains(&name.len())
            && name.split('.').all(|part| !part.is_empty() && part.bytes().all(is_part));
        match is_arn && is_name {
            true => Ok(name),
            false => Err(format!("BucketARN {arn} is not that of a bucket.")),
        }
    }

    fn read_processing(&self, config: &mut DeliveryConfig) -> Result<(), String> {
        let is_on = |enabled: Option<bool>| enabled == Some(true);
        let is_partitioned = self
            .dynamic_partitioning_configuration
            .as_ref()
            .is_some_and(|partitioning| is_on(partitioning.enabled));
        let processing = self.processing_configuration.as_ref();
        let processing = processing.filter(|processing| is_on(processing.enabled));
        for processor in processing.iter().flat_map(|of| of.processors.iter().flatten()) {
            let parameter = |name: &str| {
                let mut parameters = processor.parameters.iter().flatten();
                let found = parameters.find(|parameter| parameter.parameter_name == name);
                found.map(|parameter| parameter.parameter_value.as_str())
            };
            match processor.r#type.as_str() {
                "AppendDelimiterToRecord" => {
                    let delimiter = parameter("Delimiter").unwrap_or("\\n").replace("\\n", "\n");
                    if delimiter.len() > DELIVERY_DELIMITER_BYTES_MAX {
                        let most = DELIVERY_DELIMITER_BYTES_MAX;
                        return Err(format!("A delimiter has at most {most} bytes."));
                    }
                    config.format = Format::Raw { delimiter };
                }
                "MetadataExtraction" if is_partitioned => {
                    let query = parameter("MetadataExtractionQuery").unwrap_or_default();
                    config.partition_keys = partition_keys(query)?;
                }
                "MetadataExtraction" => {
                    let message =
                        "MetadataExtraction is for dynamic partitioning, which is not on.";
                    return Err(message.to_owned());
                }
                other => {
                    return Err(format!("The processor {other} is not supported by this gateway."));
                }
            }
        }
        match is_partitioned && config.partition_keys.is_empty() {
            true => Err("Dynamic partitioning needs a MetadataExtraction processor.".to_owned()),
            false => Ok(()),
        }
    }

    fn read_format(&self, config: &mut DeliveryConfig) -> Result<(), String> {
        config.compression = match self.compression_format.as_deref() {
            None | Some("UNCOMPRESSED") => Compression::None,
            Some("GZIP") => Compression::Gzip,
            Some("ZIP") => Compression::Zip,
            Some("Snappy") => Compression::Snappy,
            Some("HADOOP_SNAPPY") => Compression::HadoopSnappy,
            Some(other) => return Err(format!("There is no CompressionFormat {other}.")),
        };
        let conversion = self.data_format_conversion_configuration.as_ref();
        let Some(conversion) = conversion.filter(|conversion| conversion.enabled != Some(false))
        else {
            return Ok(());
        };
        if config.compression != Compression::None {
            return Err("CompressionFormat must be UNCOMPRESSED with format conversion.".to_owned());
        }
        let serializer = conversion.output_format_configuration.as_ref();
        let serializer = serializer.and_then(|output| output.serializer.as_ref());
        let Some(parquet) = serializer.and_then(|serializer| serializer.parquet_ser_de.as_ref())
        else {
            return Err("Of format conversion this gateway has the ParquetSerDe.".to_owned());
        };
        config.format = Format::Parquet(ParquetConfig::default());
        config.compression = match parquet.compression.as_deref() {
            None | Some("SNAPPY") => Compression::Snappy,
            Some("GZIP") => Compression::Gzip,
            Some("UNCOMPRESSED") => Compression::None,
            Some(other) => return Err(format!("Parquet has no compression {other}.")),
        };
        Ok(())
    }

    fn read_prefixes(&self, config: &mut DeliveryConfig) -> Result<(), String> {
        let said = |member: &'static str| move |reason: String| format!("{member}: {reason}.");
        let keys: Vec<&str> = config.partition_keys.keys().map(String::as_str).collect();
        if let Some(prefix) = self.prefix.as_ref().filter(|prefix| !prefix.is_empty()) {
            config.prefix = ObjectPrefix::parse(prefix, &keys).map_err(said("Prefix"))?;
        }
        if let Some(key) = keys.iter().find(|key| !config.prefix.names(key)) {
            return Err(format!("Prefix does not name the partition key {key}."));
        }
        if let Some(prefix) = self.error_output_prefix.as_ref().filter(|prefix| !prefix.is_empty())
        {
            // A prefix without expressions gets the kind of failure behind it.
            let whole = match prefix.contains("!{") {
                true => prefix.clone(),
                false => format!("{prefix}!{{firehose:error-output-type}}/"),
            };
            config.error_prefix =
                ObjectPrefix::parse_errors(&whole).map_err(said("ErrorOutputPrefix"))?;
        }
        Ok(())
    }
}

/// The keys of a query such as `{room: .at.room, line: .line}`: of jq as much as names fields.
fn partition_keys(query: &str) -> Result<BTreeMap<String, FieldPath>, String> {
    let wrong =
        || format!("MetadataExtractionQuery is {{key: .path, ...}} in this gateway, not {query}.");
    let inside = query.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let mut keys = BTreeMap::new();
    for pair in inside.ok_or_else(wrong)?.split(',') {
        let (name, path) = pair.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().trim_matches('"');
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_part) {
            return Err(wrong());
        }
        let path = FieldPath::parse(path.trim()).map_err(|_| wrong())?;
        keys.insert(name.to_owned(), path);
    }
    match keys.len() <= DELIVERY_PARTITION_KEYS_MAX {
        true => Ok(keys),
        false => Err(format!("There are at most {DELIVERY_PARTITION_KEYS_MAX} partition keys.")),
    }
}

/// What is to be kept of a destination: `before` with the members of `given` in it.
pub(super) fn merged(
    before: Option<Map<String, Json>>,
    given: Map<String, Json>,
) -> Map<String, Json> {
    let mut merged = before.unwrap_or_default();
    merged.extend(given.into_iter().filter(|(_, value)| !value.is_null()));
    merged
}

/// How a destination is described: what was given, and what holds where nothing was.
pub(super) fn described(destination: Map<String, Json>) -> Json {
    let mut all = json!({
        "BufferingHints": {"SizeInMBs": BUFFER_MIB, "IntervalInSeconds": BUFFER_SECS},
        "CompressionFormat": "UNCOMPRESSED",
        "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
        "CloudWatchLoggingOptions": {"Enabled": false},
        "S3BackupMode": "Disabled",
    });
    let members = all.as_object_mut().expect("it is written as one above");
    members.extend(destination);
    let plain = [
        "RoleARN",
        "BucketARN",
        "Prefix",
        "ErrorOutputPrefix",
        "BufferingHints",
        "CompressionFormat",
        "EncryptionConfiguration",
        "CloudWatchLoggingOptions",
    ];
    let of_plain =
        |name: &&str| members.get(*name).map(|value| ((*name).to_owned(), value.clone()));
    let simple: Map<String, Json> = plain.iter().filter_map(of_plain).collect();
    json!([{
        "DestinationId": DESTINATION_ID,
        "S3DestinationDescription": simple,
        "ExtendedS3DestinationDescription": all,
    }])
}

/// The one that a delivery stream has.
pub(super) const DESTINATION_ID: &str = "destinationId-000000000001";

/// A delivery of the configuration, in the words of the API.
pub(super) fn of_declared(name: &str, config: &DeliveryConfig, account: &str) -> Map<String, Json> {
    let compression = match config.compression {
        Compression::None | Compression::Zstd => "UNCOMPRESSED",
        Compression::Gzip => "GZIP",
        Compression::Zip => "ZIP",
        Compression::Snappy => "Snappy",
        Compression::HadoopSnappy => "HADOOP_SNAPPY",
    };
    let mut members = Map::new();
    for (member, value) in [
        ("RoleARN", json!(format!("arn:aws:iam::{account}:role/tidegate"))),
        ("BucketARN", json!(format!("arn:aws:s3:::{name}"))),
        (
            "BufferingHints",
            json!({
                "SizeInMBs": config.buffer_bytes / MIB,
                "IntervalInSeconds": config.buffer_interval.as_secs(),
            }),
        ),
        ("CompressionFormat", json!(compression)),
    ] {
        members.insert(member.to_owned(), value);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: Json) -> Result<DeliveryConfig, String> {
        let mut given =
            json!({"RoleARN": "arn:aws:iam::1:role/r", "BucketARN": "arn:aws:s3:::lake-1.x"});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings(given.as_object().unwrap(), Path::new("/root"))
    }

    #[test]
    fn a_bucket_is_a_folder() {
        let config = read(json!({})).unwrap();
        assert_eq!(config.directory.as_deref(), Some(Path::new("/root/lake-1.x")));
        assert_eq!(
            (config.buffer_bytes, config.buffer_interval),
            (5 * MIB, Duration::from_secs(300))
        );
        assert_eq!(config.format, Format::Raw { delimiter: String::new() });
        let config = read(json!({
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 1},
            "CompressionFormat": "HADOOP_SNAPPY",
            "ErrorOutputPrefix": "bad/",
            "Prefix": "room=!{partitionKeyFromQuery:room}/",
            "DynamicPartitioningConfiguration": {"Enabled": true},
            "ProcessingConfiguration": {"Enabled": true, "Processors": [
                {"Type": "MetadataExtraction", "Parameters": [
                    {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{room: .at.room}"},
                    {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"},
                ]},
                {"Type": "AppendDelimiterToRecord", "Parameters": [
                    {"ParameterName": "Delimiter", "ParameterValue": "\\n"},
                ]},
            ]},
        }));
        let config = config.unwrap();
        assert_eq!(config.buffer_interval, Duration::from_secs(1));
        assert_eq!(config.compression, Compression::HadoopSnappy);
        assert_eq!(config.format, Format::Raw { delimiter: "\n".to_owned() });
        assert_eq!(config.partition_keys["room"], FieldPath::parse(".at.room").unwrap());
        let parquet = json!({"DataFormatConversionConfiguration": {
            "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {}}},
        }});
        let config = read(parquet).unwrap();
        assert_eq!(config.format, Format::Parquet(ParquetConfig::default()));
        assert_eq!(config.compression, Compression::Snappy);
    }

    #[test]
    fn what_is_not_done_is_refused() {
        let processors = |kind: &str, query: &str| {
            json!({
                "DynamicPartitioningConfiguration": {"Enabled": true},
                "ProcessingConfiguration": {"Enabled": true, "Processors": [{"Type": kind, "Parameters": [
                    {"ParameterName": "MetadataExtractionQuery", "ParameterValue": query},
                ]}]},
            })
        };
        for (more, said) in [
            (json!({"RoleARN": null}), "RoleARN"),
            (json!({"BucketARN": "arn:aws:s3:::a/../b"}), "bucket"),
            (json!({"BucketARN": "arn:aws:s3:::..."}), "bucket"),
            (json!({"BucketARN": 1}), "cannot be read"),
            (json!({"BufferingHints": {"SizeInMBs": 129}}), "BufferingHints"),
            (json!({"BufferingHints": {"IntervalInSeconds": 901}}), "BufferingHints"),
            (json!({"CompressionFormat": "LZMA"}), "LZMA"),
            (json!({"S3BackupMode": "Enabled"}), "S3BackupMode"),
            (json!({"EncryptionConfiguration": {"KMSEncryptionConfig": {}}}), "KMS"),
            (json!({"FileExtension": ".x"}), "FileExtension"),
            (json!({"CustomTimeZone": "Mars"}), "Mars"),
            (json!({"Prefix": "!{partitionKeyFromQuery:a}/"}), "Prefix"),
            (json!({"Prefix": "../x/"}), "Prefix"),
            (json!({"ErrorOutputPrefix": "!{timestamp:yyyy}/"}), "ErrorOutputPrefix"),
            (json!({"DynamicPartitioningConfiguration": {"Enabled": true}}), "MetadataExtraction"),
            (processors("Lambda", ""), "Lambda"),
            (processors("MetadataExtraction", "{a: .a | length}"), "MetadataExtractionQuery"),
            (processors("MetadataExtraction", "{a: .a}"), "does not name"),
            (json!({"DataFormatConversionConfiguration": {}}), "ParquetSerDe"),
        ] {
            let error = read(more.clone()).unwrap_err();
            assert!(error.contains(said), "{more}: {error}");
        }
    }
}
