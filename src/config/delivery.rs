//! `[delivery.NAME]`: what a delivery collects, and what its files are like.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::code;
use super::column_type::Column;
use super::field_path::FieldPath;
use super::object_prefix::ObjectPrefix;
use super::read::MIB;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::boolean;
use super::section::duration;
use super::section::integer;
use super::section::path;
use super::section::size;
use super::section::text;
use crate::limits::COLUMNS_MAX;
use crate::limits::CSV_COLUMNS_MAX;
use crate::limits::DELIVERY_DELIMITER_BYTES_MAX;
use crate::limits::DELIVERY_PARTITION_KEYS_MAX;
use crate::limits::DELIVERY_PARTITIONS_MAX;

/// Compression of delivered files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// `none`
    #[default]
    None,
    /// `gzip`
    Gzip,
    /// `zip`: a file of one.
    Zip,
    /// `snappy`: its framing format.
    Snappy,
    /// `hadoop-snappy`: Hadoop's framing.
    HadoopSnappy,
    /// `zstd`
    Zstd,
}

impl Compression {
    /// Each with its name in the configuration.
    const ALL: [(&str, Compression); 6] = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("zip", Compression::Zip),
        ("snappy", Compression::Snappy),
        ("hadoop-snappy", Compression::HadoopSnappy),
        ("zstd", Compression::Zstd),
    ];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        let found = Compression::ALL.iter().find(|(_, compression)| *compression == self);
        found.map_or("", |(name, _)| name)
    }
}

/// How records stand in delivered files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `jsonl`: JSON, a record a line.
    #[default]
    Jsonl,
    /// `raw`: as they are, each with `delimiter` behind it.
    Raw {
        /// `delimiter`
        delimiter: String,
    },
    /// `csv`
    Csv(CsvConfig),
    /// `parquet`
    Parquet(ParquetConfig),
}

impl Format {
    /// As it is written in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Raw { .. } => "raw",
            Format::Csv(_) => "csv",
            Format::Parquet(_) => "parquet",
        }
    }
}

/// `[delivery.NAME.csv]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvConfig {
    /// `columns`: the fields of a record, one at least.
    pub columns: Vec<FieldPath>,
    /// `header`: whether a file begins with the names of the columns.
    pub header: bool,
    /// `separator`: a character of ASCII.
    pub separator: char,
}

/// `[delivery.NAME.parquet]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParquetConfig {
    /// `columns`. Empty: those of the records of each file.
    pub columns: Vec<Column>,
}

/// `[delivery.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// `buffer_bytes`: flush when this much waits (1 to 128 MiB).
    pub buffer_bytes: usize,
    /// `buffer_interval`: flush when the oldest entry is this old (0 to 900 s).
    pub buffer_interval: Duration,
    /// `backlog_bytes_max`: what may wait on disk, in all partitions together.
    pub backlog_bytes_max: usize,
    /// `directory`: default `<data_dir>/delivery/NAME`.
    pub directory: Option<PathBuf>,
    /// `format`
    pub format: Format,
    /// `compression`
    pub compression: Compression,
    /// `prefix`: the folders of a file.
    pub prefix: ObjectPrefix,
    /// `error_prefix`: the folders of a file of records that could not be delivered.
    pub error_prefix: ObjectPrefix,
    /// `time_zone`: of the times in both.
    pub time_zone: TimeZone,
    /// `[delivery.NAME.partition_keys]`: a record's partition, name by name. Empty: there are none.
    pub partition_keys: BTreeMap<String, FieldPath>,
    /// `partitions_max`: partitions with records that wait, at once.
    pub partitions_max: usize,
    /// `flush_on_stop`: whether what waits is written when the gateway stops.
    pub flush_on_stop: bool,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        DeliveryConfig {
            buffer_bytes: 5 * MIB,
            buffer_interval: Duration::from_secs(60),
            backlog_bytes_max: 4 * 1024 * MIB,
            directory: None,
            format: Format::Jsonl,
            compression: Compression::None,
            prefix: ObjectPrefix::hourly(),
            error_prefix: ObjectPrefix::errors(),
            time_zone: TimeZone::UTC,
            partition_keys: BTreeMap::new(),
            partitions_max: 500,
            flush_on_stop: true,
        }
    }
}

pub(super) fn read_delivery(
    mut section: Section<'_>,
    _: Range<usize>,
    findings: &mut Findings,
) -> DeliveryConfig {
    let mut delivery = DeliveryConfig::default();
    section.read("buffer_bytes", &mut delivery.buffer_bytes, size(MIB..=128 * MIB), findings);
    let interval = duration(Duration::ZERO..=Duration::from_secs(900));
    section.read("buffer_interval", &mut delivery.buffer_interval, interval, findings);
    let backlog = size(MIB..=1024 * 1024 * MIB);
    section.read("backlog_bytes_max", &mut delivery.backlog_bytes_max, backlog, findings);
    let directory = |value: &DeValue<'_>| path(value).map(Some);
    section.read("directory", &mut delivery.directory, directory, findings);
    delivery.format = read_format(&mut section, findings);
    read_compression(&mut section, &mut delivery, findings);
    section.read("time_zone", &mut delivery.time_zone, time_zone, findings);
    let count = integer(1..=DELIVERY_PARTITIONS_MAX);
    section.read("partitions_max", &mut delivery.partitions_max, count, findings);
    section.read("flush_on_stop", &mut delivery.flush_on_stop, boolean, findings);
    read_layout(&mut section, &mut delivery, findings);
    section.finish(findings);
    delivery
}

/// Reads where files go: the two prefixes, and the keys that they may name.
fn read_layout(section: &mut Section<'_>, delivery: &mut DeliveryConfig, findings: &mut Findings) {
    let keys = section.section("partition_keys", findings).texts(findings);
    for (name, value) in keys {
        let (name_at, value_at) = (name.span(), value.span());
        if let Err(problem) = check_key(name.get_ref()) {
            findings.diagnostics.push(problem.at(name_at, ""));
        }
        match FieldPath::parse(value.get_ref()) {
            Ok(path) => drop(delivery.partition_keys.insert(name.into_inner(), path)),
            Err(reason) => {
                let help = "a path is .room, .device.id, .tags[0] or .\"odd name\"";
                let problem = Problem::new(code::VALUE, reason, help);
                findings.diagnostics.push(problem.at(value_at, "not a path"));
            }
        }
    }
    let known: Vec<&str> = delivery.partition_keys.keys().map(String::as_str).collect();
    let prefix = |value: &DeValue<'_>| read_prefix(value, |text| ObjectPrefix::parse(text, &known));
    let at = section.read("prefix", &mut delivery.prefix, prefix, findings);
    let errors = |value: &DeValue<'_>| read_prefix(value, ObjectPrefix::parse_errors);
    section.read("error_prefix", &mut delivery.error_prefix, errors, findings);
    let unnamed = known.iter().find(|key| !delivery.prefix.names(key));
    let at = at.or_else(|| section.place("partition_keys"));
    if known.len() > DELIVERY_PARTITION_KEYS_MAX {
        let message = format!("there are {} partition keys", known.len());
        let help = format!("at most {DELIVERY_PARTITION_KEYS_MAX}");
        let problem = Problem::new(code::RANGE, message, help);
        findings.diagnostics.push(problem.at(at.unwrap_or_default(), "too many"));
    } else if let Some(key) = unnamed {
        let message = format!("the prefix does not name the partition key \"{key}\"");
        let help = format!("write !{{partitionKeyFromQuery:{key}}} into it, or take the key away");
        let problem = Problem::new(code::CONTRADICTION, message, help);
        findings.diagnostics.push(problem.at(at.unwrap_or_default(), "prefix"));
    }
}

fn read_prefix(
    value: &DeValue<'_>,
    parse: impl FnOnce(&str) -> Result<ObjectPrefix, String>,
) -> Result<ObjectPrefix, Problem> {
    let help = "folders with !{timestamp:yyyy/MM/dd}, !{partitionKeyFromQuery:KEY} or \
                !{firehose:random-string}; !{firehose:error-output-type} in error_prefix";
    parse(&text(value)?).map_err(|reason| Problem::new(code::VALUE, reason, help))
}

fn check_key(name: &str) -> Result<(), Problem> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!("{name:?} is not a name for a partition key");
    Err(Problem::new(code::NAME, message, "1 to 64 letters, digits, _ and -"))
}

fn time_zone(value: &DeValue<'_>) -> Result<TimeZone, Problem> {
    let name = text(value)?;
    TimeZone::get(&name).map_err(|_| {
        let help = "a name of the IANA database, such as \"Europe/Berlin\", or \"UTC\"";
        Problem::new(code::VALUE, format!("there is no time zone {name:?}"), help)
    })
}

/// What `format` names, before its own settings are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Jsonl,
    Raw,
    Csv,
    Parquet,
}

fn read_format(section: &mut Section<'_>, findings: &mut Findings) -> Format {
    let (mut kind, mut delimiter) = (Kind::Jsonl, "\n".to_owned());
    let format_at = section.read("format", &mut kind, format, findings);
    let delimiter_at = section.read("delimiter", &mut delimiter, read_delimiter, findings);
    let csv = read_csv(section, kind, format_at, findings);
    let parquet = read_parquet(section, findings);
    if kind != Kind::Raw && delimiter != "\n" {
        let problem = Problem::new(
            code::CONTRADICTION,
            "only raw records have a delimiter",
            "format = \"raw\"",
        );
        findings.diagnostics.push(problem.at(delimiter_at.unwrap_or_default(), ""));
    }
    match kind {
        Kind::Jsonl => Format::Jsonl,
        Kind::Raw => Format::Raw { delimiter },
        Kind::Csv => Format::Csv(csv),
        Kind::Parquet => Format::Parquet(parquet),
    }
}

fn read_csv(
    section: &mut Section<'_>,
    kind: Kind,
    format_at: Option<Range<usize>>,
    findings: &mut Findings,
) -> CsvConfig {
    let mut csv = CsvConfig { columns: Vec::new(), header: true, separator: ',' };
    let mut table = section.section("csv", findings);
    let columns = |value: &DeValue<'_>| {
        let path = FieldPath::parse(&text(value)?);
        let help = "a column is the path of a field: .room, .device.id";
        csv.columns.push(path.map_err(|reason| Problem::new(code::VALUE, reason, help))?);
        Ok(())
    };
    table.read_list("columns", columns, findings);
    table.read("header", &mut csv.header, boolean, findings);
    table.read("separator", &mut csv.separator, separator, findings);
    table.finish(findings);
    let many = csv.columns.len() > CSV_COLUMNS_MAX;
    if many || (kind == Kind::Csv && csv.columns.is_empty()) {
        let message = format!("a CSV file has 1 to {CSV_COLUMNS_MAX} columns");
        let help = "columns = [\".id\", \".device.room\"] in [delivery.NAME.csv]";
        let at = format_at.or_else(|| section.place("csv")).unwrap_or_default();
        findings.diagnostics.push(Problem::new(code::MISSING, message, help).at(at, ""));
    }
    csv
}

fn read_parquet(section: &mut Section<'_>, findings: &mut Findings) -> ParquetConfig {
    let mut parquet = ParquetConfig::default();
    let mut table = section.section("parquet", findings);
    let columns = |value: &DeValue<'_>| {
        let help =
            "a column is a name and a type: \"id bigint\", \"at struct<room:string,level:int>\"";
        let problem = |reason: String| Problem::new(code::VALUE, reason, help);
        let column = Column::parse(&text(value)?).map_err(problem)?;
        if parquet.columns.iter().any(|other| other.name == column.name) {
            return Err(problem(format!("there are two columns {:?}", column.name)));
        }
        parquet.columns.push(column);
        Ok(())
    };
    let at = table.read_list("columns", columns, findings);
    table.finish(findings);
    let leaves: usize = parquet.columns.iter().map(|column| column.kind.leaves()).sum();
    if leaves > COLUMNS_MAX {
        let message = format!("there are {leaves} columns, those inside others counted");
        let problem = Problem::new(code::RANGE, message, format!("at most {COLUMNS_MAX}"));
        findings.diagnostics.push(problem.at(at.unwrap_or_default(), "too many"));
    }
    parquet
}

fn read_compression(
    section: &mut Section<'_>,
    delivery: &mut DeliveryConfig,
    findings: &mut Findings,
) {
    let at = section.read("compression", &mut delivery.compression, compression, findings);
    let is_of_files = matches!(delivery.compression, Compression::Zip | Compression::HadoopSnappy);
    if is_of_files && matches!(delivery.format, Format::Parquet(_)) {
        let message = format!("Parquet has no compression \"{}\"", delivery.compression.name());
        let help = "\"none\", \"gzip\", \"snappy\" or \"zstd\"";
        let problem = Problem::new(code::CONTRADICTION, message, help);
        findings.diagnostics.push(problem.at(at.unwrap_or_default(), ""));
    }
}

fn format(value: &DeValue<'_>) -> Result<Kind, Problem> {
    match text(value)?.as_str() {
        "jsonl" => Ok(Kind::Jsonl),
        "raw" => Ok(Kind::Raw),
        "csv" => Ok(Kind::Csv),
        "parquet" => Ok(Kind::Parquet),
        other => {
            let message = format!("{other:?} is not a format of files");
            Err(Problem::new(code::VALUE, message, "\"jsonl\", \"raw\", \"csv\" or \"parquet\""))
        }
    }
}

fn read_delimiter(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    match text.len() <= DELIVERY_DELIMITER_BYTES_MAX {
        true => Ok(text),
        false => {
            let message = "the delimiter is too long";
            let help = format!("at most {DELIVERY_DELIMITER_BYTES_MAX} bytes");
            Err(Problem::new(code::RANGE, message, help))
        }
    }
}

fn separator(value: &DeValue<'_>) -> Result<char, Problem> {
    let text = text(value)?;
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(char::from(*byte)),
        _ => {
            let help = "one character of ASCII, such as \",\", \";\" or a tab";
            Err(Problem::new(code::VALUE, format!("{text:?} cannot separate cells"), help))
        }
    }
}

fn compression(value: &DeValue<'_>) -> Result<Compression, Problem> {
    let name = text(value)?;
    let found = Compression::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, compression)| *compression).ok_or_else(|| {
        let help = Compression::ALL.map(|(known, _)| format!("{known:?}")).join(", ");
        Problem::new(code::VALUE, format!("{name:?} is not a compression"), help)
    })
}
