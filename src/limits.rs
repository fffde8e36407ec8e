//! Every bound, why it has that value, and the relations that must hold between them.
//!
//! What an operator may change is in `config`, with these as defaults or as the outermost range.

use std::time::Duration;

/// Nested parentheses, cases, sub-queries and literals in a rule: refused before pest runs, so that
/// every build reports the same.
pub const NESTING_MAX: usize = 64;
/// Levels of a finished expression tree. Chains such as `a + b + c` nest without brackets, so this
/// and not [`NESTING_MAX`] bounds the recursion of everything that walks a tree: 256 levels fit a
/// 2-MiB stack with room in every build.
pub const EXPRESSION_DEPTH_MAX: usize = 256;
/// One rule file, bytes. Larger ones are refused unread.
pub const RULE_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Values of a YAML file: each takes a hundred bytes beside its text. A template of 1 MB (AWS's bound) has
/// fewer.
pub const YAML_VALUES_MAX: usize = 100_000;
/// One statement, bytes (AWS: a rule document is at most 256 KB).
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// Words, texts and signs of one statement: the parser takes up to 10 µs for each, so this and not the
/// bytes bounds its time.
pub const STATEMENT_TOKENS_MAX: usize = 10_000;
/// Actions of one rule in each list (AWS: 10).
pub const ACTIONS_MAX: usize = 10;
/// Rule files of one set.
pub const RULE_FILES_MAX: usize = 10_000;
/// Folders inside one another that are searched for rule files: ends a circle of symbolic links.
pub const RULE_FOLDERS_DEEP_MAX: usize = 16;
/// Syntax errors told of one statement: what follows more is rarely meant to be one.
pub const SYNTAX_ERRORS_MAX: usize = 16;
/// Findings reported of one file, the worst first. Nobody mends more at once, and each costs a look over
/// the file.
pub const FINDINGS_PER_FILE_MAX: usize = 100;
/// Bytes of one file that are drawn around one mark; of longer lines, and between marks that are further
/// apart, the surroundings of each mark are.
pub const EXCERPT_BYTES_MAX: usize = 2048;
/// Rules in one set (AWS: 1,000 an account, extensible).
pub const RULES_MAX: usize = 10_000;
/// How often the rule files are looked at for changes.
pub const RULES_LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Looking takes at most this share of the time: a look of 40 ms is followed by a pause of two seconds.
pub const RULES_LOOK_SHARE: u32 = 50;
/// Rule files that have changed are read when they look the same after this pause,
pub const RULES_SETTLE_PERIOD: Duration = Duration::from_millis(250);
/// or when they have not stopped changing for this long.
pub const RULES_SETTLE_MAX: Duration = Duration::from_secs(10);
/// Reloads that may wait for the one under way; they share the next.
pub const RELOADS_WAITING_MAX: usize = 64;
/// Findings kept of a reload for programs, the worst first.
pub const RELOAD_FINDINGS_MAX: usize = 100;
/// The drawn findings kept of a reload, bytes.
pub const RELOAD_REPORT_BYTES_MAX: usize = 64 * 1024;
/// A rule's name, characters (AWS: 128).
pub const RULE_NAME_CHARS_MAX: usize = 128;
/// A SET variable's name without `@`, characters (AWS: 64).
pub const VARIABLE_NAME_CHARS_MAX: usize = 64;
/// SET variables of one statement.
pub const VARIABLES_MAX: usize = 64;
/// Reference tables of one set.
pub const TABLES_MAX: usize = 64;
/// The file of one reference table, bytes. It becomes several times as much in memory, twice during
/// a reload.
pub const TABLE_FILE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The files of all reference tables of a set, bytes.
pub const TABLE_FILES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Rows of one reference table.
pub const TABLE_ROWS_MAX: usize = 250_000;
/// Columns of one reference table: a row is searched for a column's name.
pub const TABLE_COLUMNS_MAX: usize = 256;
/// Columns that make a reference table's key.
pub const TABLE_KEY_COLUMNS_MAX: usize = 4;
/// Keys of one table that UPSERT writes, when the configuration does not say. They are held in memory.
pub const TABLE_KEYS_MAX: usize = 100_000;
/// Keys and values of one table that UPSERT writes, bytes, when the configuration does not say. Those of
/// a table that rules read are held in memory.
pub const TABLE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The key of an UPSERT, bytes.
pub const TABLE_KEY_BYTES_MAX: usize = 1024;
/// The value of an UPSERT, bytes: a device's state, and not its history.
pub const TABLE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// The text of a secret, bytes (AWS Secrets Manager: 65,536).
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Calls of `aws_lambda()` that one rule makes for one message.
pub const CALLS_MAX: usize = 16;
/// Calls of `aws_lambda()` that one connection waits for at once.
pub const CALLS_AT_ONCE_MAX: usize = 64;
/// The answer to a call of `aws_lambda()`, bytes (AWS: 6 MB, of which a rule can use 128 KiB).
pub const CALL_ANSWER_BYTES_MAX: usize = 128 * 1024;
/// JOIN clauses of one statement.
pub const JOINS_MAX: usize = 8;
/// Nested objects and arrays in a payload. Deeper ones are a fault.
pub const PAYLOAD_DEPTH_MAX: usize = 128;
/// Texts that are computed when a rule is compiled, bytes: `rpad('x', 1000000)` a thousand times must
/// not fill the memory.
pub const FOLDED_BYTES_MAX: usize = 64 * 1024;
/// HEADERS of one REPUBLISH (AWS: 100 user properties).
pub const HEADERS_MAX: usize = 100;
/// The names and values of HEADERS of one republished message, bytes (AWS: 8 KB). No text of MQTT 5
/// may be longer than 65,535 bytes.
pub const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// Events that wait to be published; more are counted and forgotten.
pub const EVENTS_QUEUE_MAX: usize = 4096;
/// Events that are published with one commit.
pub const EVENTS_BATCH_MAX: usize = 256;
/// A Protobuf descriptor file that rules name, bytes.
pub const DESCRIPTOR_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Elements of the packed arrays and data sets of a Sparkplug payload: a Boolean takes one bit of the
/// payload and a value in memory.
pub const SPARKPLUG_VALUES_MAX: usize = 100_000;
/// Columns of a CSV payload, and of the list in a rule.
pub const CSV_COLUMNS_MAX: usize = 1024;
/// The name of a column in a payload (the header of CSV, a data set of Sparkplug), bytes: each record
/// gets a copy.
pub const COLUMN_NAME_BYTES_MAX: usize = 128;
/// Fields of all records of a CSV payload: a field of one byte takes fifty in memory.
pub const CSV_FIELDS_MAX: usize = 100_000;
/// Records of a stream that rules judge at a time: as many as a commit of a busy gateway carries,
pub const STREAM_TURN_RECORDS_MAX: usize = 1000;
/// bytes of their data and keys,
pub const STREAM_TURN_BYTES_MAX: usize = 1024 * 1024;
/// and bytes of what they cause: no further record is judged once it is reached.
pub const STREAM_TURN_OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Damaged blocks of a stream that one turn moves over: each is a line in the log.
pub const STREAM_TURN_DAMAGED_MAX: usize = 16;
/// REPUBLISH and STREAM hops a message may take before it is cut.
pub const HOPS_MAX: u8 = 4;
/// A compiled regular expression, bytes of its program. One of this size takes 2 ms to compile.
pub const REGEX_BYTES_MAX: usize = 256 * 1024;
/// Regular expressions in the text of one rule: all of them together are compiled in 100 ms.
pub const REGEXES_MAX: usize = 32;
/// Steps back that one search may take where the expression needs backtracking: 10 ms.
pub const REGEX_STEPS_MAX: usize = 200_000;
/// Steps that evaluating one rule over one message may take in all, in searches and in other work that
/// grows with the message: a fifth of a second, during which the other clients of the thread wait.
pub const EVALUATION_STEPS_MAX: usize = 4_000_000;
/// What a function reads of its arguments in the time of a step, bytes, or elements that it compares.
pub const EVALUATION_STEP_SIZE: usize = 16;
/// Steps that compiling a regular expression out of a message counts for: 1 ms.
pub const REGEX_COMPILE_STEPS: usize = 20_000;
/// Strings built while evaluating one rule over one message, bytes in all.
pub const EVALUATION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The text of a regular expression, bytes: one that a message brings is compiled while its sender
/// waits.
pub const REGEX_TEXT_BYTES_MAX: usize = 4096;
/// Regular expressions out of messages that a thread remembers; all are forgotten when it is full.
pub const REGEX_CACHE_MAX: usize = 32;
/// A pattern of `parse_time` or `time_to_epoch`, bytes.
pub const TIME_PATTERN_BYTES_MAX: usize = 256;
/// The output of one rule, bytes (a stream record may have 1 MiB with its key).
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Elements that arrays built while evaluating one rule may have in all.
pub const ARRAY_GROWTH_MAX: usize = 100_000;
/// Elements that one FOREACH runs over.
pub const FOREACH_ELEMENTS_MAX: usize = 10_000;
/// Outputs of one FOREACH over one message, bytes in all.
pub const FOREACH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Durations in rules reach this far.
pub const HOLD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Keys one rule may watch at once when its configuration does not say.
pub const HOLD_KEYS_MAX: usize = 100_000;
/// Silence after which a key is forgotten by `lag`, `delta` and `had_changed`, and what it has of a COUNT
/// window is, when the configuration does not say.
pub const KEY_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Keys forgotten for their age with one message, so that none waits for a million of them.
pub const KEYS_FORGOTTEN_MAX: usize = 10_000;
/// So many times in that age silent keys are looked for, and the row of a key that says nothing new is
/// written for its time.
pub const KEY_AGE_LOOKS: u32 = 16;
/// TRUE messages that AT LEAST counts to: each key keeps the times of as many.
pub const HOLD_TIMES_MAX: u32 = 1000;
/// A key of a hold, encoded, bytes.
pub const HOLD_KEY_BYTES_MAX: usize = 1024;
/// Payload and property bytes that the keys of one rule may keep in all (each keeps its last TRUE
/// message): many keys with large payloads must not fill the memory.
pub const HOLD_MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Episodes that one advance of the hold table hands over before the caller gets its turn: bounds what
/// a batch carries when many keys are due in one instant, or REPEAT EVERY has much to catch up.
pub const HOLD_ADVANCE_EPISODES_MAX: usize = 1024;
/// Timers that one advance of the hold table runs, also where they make no episode (counts that lapse, keys
/// that start over): bounds how long one piece of a burst takes, to some 10 ms.
pub const HOLD_ADVANCE_TIMERS_MAX: usize = 16 * HOLD_ADVANCE_EPISODES_MAX;
/// Unreadable rows of the hold table that are named one by one; the others are counted.
pub const HOLD_REJECTED_ROWS_SHOWN: usize = 16;
/// What may happen in one scenario of `tidegate test`; more is taken for a loop.
pub const SCENARIO_EVENTS_MAX: usize = 100_000;
/// An event time further ahead of the receive time than this is no time: one wrong clock must not make
/// every message after it late.
pub const EVENT_FUTURE_MAX: Duration = Duration::from_secs(3600);
/// Messages of one key that wait for their turn in event time. Over it the oldest are judged early.
pub const EVENT_WAITING_PER_KEY_MAX: usize = 10_000;
/// Bytes of those messages.
pub const EVENT_WAITING_BYTES_PER_KEY_MAX: usize = 4 * 1024 * 1024;
/// Messages of all keys of a rule that wait for their turn.
pub const EVENT_WAITING_MAX: usize = 1_000_000;
/// Bytes of those messages.
pub const EVENT_WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long, in event time, a key that neither pends nor fires is remembered for the sake of its
/// watermark. A message older than that one would come more than this late.
pub const EVENT_KEY_REST: Duration = Duration::from_secs(3600);
/// Repetitions of REPEAT EVERY that one silence gives in event time: a clock that jumps from 1970 to
/// today must not write fifty years of them.
pub const EVENT_REPEATS_MAX: u32 = 1000;
/// Values of a key that the analytic functions of one rule remember in all, and so how far `lag` reaches
/// back: a key's row is written whole when one of them changes.
pub const HISTORY_VALUES_MAX: usize = 1000;
/// A remembered value as JSON text, bytes.
pub const HISTORY_VALUE_BYTES_MAX: usize = 4096;
/// Bytes of the remembered values of all keys of a rule.
pub const HISTORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Messages that one advance of the histories hands over before the caller gets its turn.
pub const HISTORY_ADVANCE_MAX: usize = 1024;
/// Messages of a COUNT window.
pub const WINDOW_COUNT_MAX: u64 = 1_000_000;
/// Panes of one HOP window: what has to be merged when it closes.
pub const WINDOW_PANES_MAX: u64 = 3600;
/// Open windows or panes of one group, and messages that a SLIDE window keeps.
pub const WINDOW_PANES_PER_GROUP_MAX: usize = 10_000;
/// Open windows, panes and kept messages of all groups of a rule.
pub const WINDOW_PANES_PER_RULE_MAX: usize = 1_000_000;
/// Bytes of the values that the windows of one rule keep for first, last, collect and their like.
pub const WINDOW_VALUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Values that one aggregate keeps of one window: of collect, and the different ones of count_distinct.
pub const WINDOW_VALUES_MAX: usize = 1000;
/// Bytes of those.
pub const WINDOW_VALUES_BYTES_MAX: usize = 256 * 1024;
/// Values up to which median and percentile are exact; beyond them a value is known within 0.5 %.
pub const WINDOW_EXACT_VALUES_MAX: usize = 512;
/// Aggregates of one rule.
pub const AGGREGATES_MAX: usize = 64;
/// A partition key, characters (Kinesis: 1 to 256).
pub const PARTITION_KEY_CHARS_MAX: usize = 256;
/// A stream record: data and partition key together, bytes (Kinesis: 1 MiB).
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// The largest record that a stream can be set to take, bytes (Kinesis: 10 MiB).
pub const STREAM_RECORD_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Requests of the Kinesis API under way at once; more are told to come back.
pub const KINESIS_REQUESTS_MAX: usize = 1024;
/// Bytes that their bodies and answers hold in memory together; more wait for room.
pub const KINESIS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A body, packed or not: 10 MiB of records in base64, with what is around them.
pub const KINESIS_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An answer: a page and a record over it in base64, with what is around them.
pub const KINESIS_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Records of one PutRecords (Kinesis: 500).
pub const KINESIS_BATCH_RECORDS_MAX: usize = 500;
/// Bytes of their data and keys (Kinesis: 10 MiB).
pub const KINESIS_BATCH_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Records of one GetRecords (Kinesis: 10,000).
pub const KINESIS_PAGE_RECORDS_MAX: usize = 10_000;
/// Bytes of data and keys after which a page takes no further record (Kinesis: 10 MiB).
pub const KINESIS_PAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Members of a list in a request that are kept: no list may have as many.
pub const KINESIS_LIST_MAX: usize = 1000;
/// Findings that the answer to a request names.
pub const KINESIS_FINDINGS_MAX: usize = 32;
/// Characters of a value that an error quotes.
pub const KINESIS_QUOTED_CHARS_MAX: usize = 300;
/// Streams, or shards of a described stream, of a page whose size is not asked for (Kinesis: 100).
pub const KINESIS_LISTED_DEFAULT: usize = 100;
/// Shards of one page of ListShards (Kinesis: 1,000 unless asked for more).
pub const KINESIS_SHARDS_LISTED_MAX: usize = 10_000;
/// Shards of a stream that is made in on-demand mode (Kinesis: 4).
pub const KINESIS_ON_DEMAND_SHARDS: u32 = 4;
/// A shard iterator or a next token as text.
pub const KINESIS_TOKEN_BYTES_MAX: usize = 2048;
/// How long they are good (Kinesis: 300 s).
pub const KINESIS_TOKEN_LIFE: Duration = Duration::from_secs(300);
/// How far the time of a signed request may be from ours (AWS: 5 minutes),
pub const KINESIS_CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);
/// and for how long a presigned one may say that it is good (AWS: 7 days).
pub const KINESIS_PRESIGNED_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Connections of its own with which the Kinesis API reads: as many reads run at once.
pub const KINESIS_READERS: usize = 4;
/// Streams, those that are being deleted included. Retention looks at each once a minute.
pub const STREAMS_MAX: u64 = 10_000;
/// Shards of all streams that take records: what AWS gives an account at most in its largest regions. Retention
/// looks at each once a minute, in some microseconds.
pub const SHARDS_MAX: u64 = 10_000;
/// The same with those that are closed and still have records. Resharding makes them, retention takes them.
pub const SHARDS_KEPT_MAX: u64 = 40_000;
/// Tags of a stream (Kinesis: 50).
pub const STREAM_TAGS_MAX: usize = 50;
/// Registered consumers of a stream (Kinesis: 20).
pub const STREAM_CONSUMERS_MAX: u64 = 20;
/// Subscriptions of SubscribeToShard open at once.
pub const KINESIS_SUBSCRIPTIONS_MAX: usize = 256;
/// Records of one event of a subscription,
pub const KINESIS_EVENT_RECORDS_MAX: usize = 1000;
/// bytes of data and keys after which it takes no further record,
pub const KINESIS_EVENT_BYTES_MAX: usize = 128 * 1024;
/// and bytes of all events that clients have not taken yet. So small that those who take nothing leave room for the
/// others, unless records are large.
pub const KINESIS_EVENTS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a subscription lasts (Kinesis: 5 minutes),
pub const KINESIS_SUBSCRIPTION_LIFE: Duration = Duration::from_secs(300);
/// after how long it says at least that there is nothing,
pub const KINESIS_HEARTBEAT: Duration = Duration::from_secs(5);
/// and for how long it is not taken over by another one of the same consumer (Kinesis: 5 seconds).
pub const KINESIS_TAKE_OVER_MIN: Duration = Duration::from_secs(5);
/// Tables of leases (KCL 3 makes three for each application),
pub const LEASE_TABLES_MAX: u64 = 64;
/// items of one: a lease for each shard that is kept, several times over,
pub const LEASE_ITEMS_MAX: u64 = 100_000;
/// and bytes of them. A search through an index looks at all.
pub const LEASE_TABLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// An item of one (DynamoDB: 400 KB).
pub const LEASE_ITEM_BYTES_MAX: usize = 400 * 1024;
/// An attribute of a key (DynamoDB: 2,048 bytes for a hash key).
pub const LEASE_KEY_BYTES_MAX: usize = 2048;
/// Indexes of a table (DynamoDB: 20).
pub const LEASE_INDEXES_MAX: usize = 20;
/// Lists and maps inside one another, and brackets of an expression (DynamoDB: 32).
pub const LEASE_NESTING_MAX: usize = 32;
/// An expression (DynamoDB: 4 KB).
pub const LEASE_EXPRESSION_BYTES_MAX: usize = 4096;
/// A request for leases, or of metrics: 25 items of usual size,
pub const LEASE_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// and how many times its bytes it takes in memory: two bytes of JSON may be a value of 48.
pub const LEASE_TREE_GROWTH: usize = 32;
/// Items of one answer, bytes (DynamoDB: 1 MB).
pub const LEASE_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Shards with limits whose last second the journal remembers; over it all are forgotten, and begin with a full second.
pub const SHARD_RATES_MAX: usize = 20_000;
/// Shards of a stream in one answer of the admin API.
pub const SHARDS_SHOWN_MAX: usize = 1000;
/// Streams on `/metrics`; those behind them in order of their names are left out, and counted.
pub const METRIC_STREAMS_MAX: usize = 100;
/// Shards of one stream on `/metrics`; a stream of more open shards has one line for all of them.
pub const METRIC_SHARDS_MAX: usize = 32;
/// Streams that are counted at a time: as many as there may be, and those that have gone.
pub const STREAMS_METERED_MAX: usize = 20_000;
/// Shards of one stream that are counted at a time: open ones, and closed ones that are still read.
pub const SHARDS_METERED_MAX: usize = 20_000;
/// Rules on one topic that ask the same kind of question of one field before the question is indexed: the
/// search costs what evaluating one of them does.
pub const PREDICATE_INDEX_MIN: usize = 4;
/// Plans of topics that connections share; over it those that no connection holds are forgotten.
pub const PLANS_SHARED_MAX: usize = 4096;
/// Topics whose plan one connection remembers; all are forgotten when it is full.
pub const TOPIC_CACHE_MAX: usize = 1024;
/// Bytes of the names among them: a client may publish to a thousand topics of 64 KiB each.
pub const TOPIC_CACHE_BYTES_MAX: usize = 256 * 1024;
/// What a connection that rests keeps of them.
pub const TOPIC_CACHE_REST_BYTES: usize = 16 * 1024;
/// Sessions, connected or parked. A new client over it is refused: forgetting somebody's session
/// instead would lose messages.
pub const SESSIONS_MAX: usize = 100_000;
/// A client identifier, bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 1024;
/// QoS 1 and 2 messages on their way to one subscriber; its own Receive Maximum may be smaller.
pub const SUBSCRIBER_WINDOW: usize = 256;
/// Messages of a session read from disk at once: what a window and a write take.
pub const SESSION_PAGE_MAX: usize = 512;
/// Bytes of such a page after which it is closed.
pub const SESSION_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// How long the removal of messages that subscribers are done with may wait for another commit. What is removed
/// later than a crash is sent again.
pub const SESSION_REMOVAL_DELAY: Duration = Duration::from_millis(200);
/// How often messages of absent clients are looked at for their age.
pub const SESSION_AGE_PERIOD: Duration = Duration::from_secs(30);
/// Topic aliases given to one subscriber; its own Topic Alias Maximum may be smaller.
pub const SUBSCRIBER_ALIASES_MAX: u16 = 64;
/// The shortest topic, bytes, that is given an alias: the alias itself takes three.
pub const SUBSCRIBER_ALIAS_TOPIC_MIN: usize = 8;
/// Topic aliases one client may set.
pub const TOPIC_ALIAS_MAX: u16 = 64;
/// Retained messages, bytes in all, payload and topic.
pub const RETAINED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Nodes of the tree of retained messages that are looked at under its lock at once: well under a
/// millisecond.
pub const RETAINED_STEP_NODES: usize = 1_024;
/// Access rules, those of a file included.
pub const ACL_RULES_MAX: usize = 100_000;
/// Users of a users file.
pub const USERS_MAX: usize = 100_000;
/// A users file, or one of access rules or keys, bytes: [`USERS_MAX`] lines of 160 bytes.
pub const ACCESS_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A user or group name, bytes.
pub const USER_NAME_BYTES_MAX: usize = 256;
/// A password that is compared with a hash, bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Memory that one comparison with a hash may take, KiB: 256 MiB, thirteen times argon2's default.
pub const HASH_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Passes over it.
pub const HASH_PASSES_MAX: u32 = 16;
/// Clients that wait for their password to be compared: what is done in ten seconds, the default of
/// `mqtt.connect_timeout`, at a hundred a second.
pub const LOGINS_WAITING_MAX: usize = 1024;
/// Those of them from one address.
pub const LOGINS_WAITING_PER_ADDRESS_MAX: usize = 512;
/// A token, bytes: more than any service issues, and less than it would cost to look at for long.
pub const JWT_BYTES_MAX: usize = 16 * 1024;
/// Keys that tokens are checked with: each of the algorithm may be tried.
pub const JWT_KEYS_MAX: usize = 64;
/// Claims of a token, or groups, that access rules can name.
pub const CLAIMS_MAX: usize = 64;
/// The name and value of one of them, bytes: each connection keeps them.
pub const CLAIM_BYTES_MAX: usize = 512;
/// Access rules that a hook may answer for one client: each connection keeps them.
pub const HOOK_RULES_MAX: usize = 256;
/// Answers of the hook that are kept.
pub const LOGINS_KEPT_MAX: usize = 10_000;
/// Addresses whose connections are counted; over it those with a full bucket are forgotten.
pub const RATES_TRACKED_MAX: usize = 100_000;
/// Addresses, and user names of an address, whose failed logins are remembered.
pub const FAILURES_TRACKED_MAX: usize = 100_000;
/// A connection's read buffer while it is idle.
pub const READ_BUFFER_MIN: usize = 512;
/// A connection's read buffer under load: what one read can bring. Larger packets grow it as they arrive.
pub const READ_BUFFER_MAX: usize = 64 * 1024;
/// A client that sends QoS 0 fast is read about this often: at two thousand messages a second a read
/// brings four, and what one of them is late by is less than a network's delay. Longer would spare the
/// gateway more, but TCP's acknowledgements then fall to the sender's side: with one generator that has
/// a core to itself, 4 ms brought 217,000 messages a second and 2 ms 229,000.
pub const GATHER_TIME: Duration = Duration::from_millis(2);
/// The longest that such a client's messages wait to be read.
pub const GATHER_MAX: Duration = Duration::from_millis(4);
/// Bytes in [`GATHER_TIME`] from which a client counts as fast: about two messages.
pub const GATHER_BYTES_MIN: usize = 256;
/// Bytes that are not waited beyond: a part of any socket's receive buffer, so the client can go on.
pub const GATHER_BYTES_MAX: usize = 16 * 1024;
/// Bytes waiting for a client's socket above which nothing more is read from it or encoded for it.
pub const WRITE_BUFFER_HIGH: usize = 64 * 1024;
/// A client that takes none of the bytes waiting for it for this long is cut.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// A burst's read buffer is given back after this long without a packet.
pub const READ_BUFFER_REST: Duration = Duration::from_secs(5);
/// TCP asks a silent peer whether it is there after this long, and every tenth of it from then on.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Files and sockets that the gateway itself has open, at most, without deliveries and hooks: database,
/// log and temporary files of every connection to it, listeners, the runtime, the demo device.
pub const OWN_FILES: usize = 112;
/// Connections that both listeners must have room for, or the gateway does not start.
pub const CONNECTIONS_MIN: usize = 16;
/// Requests of one HTTP/2 connection under way at once.
pub const HTTP2_STREAMS_MAX: u32 = 128;
/// Bytes of bodies that an HTTP/2 client may send ahead, of one request and of all of a connection.
pub const HTTP2_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of answers that wait for an HTTP/2 client, for each request.
pub const HTTP2_SEND_BYTES_MAX: usize = 256 * 1024;
/// MQTT connections over `connections_max` that are still answered with the reason; more are closed
/// unread.
pub const REFUSALS_MAX: usize = 64;
/// `[listener.NAME]` sections. Each costs a task and a socket.
pub const LISTENERS_MAX: usize = 64;
/// A file of certificates, a key or a revocation list, bytes: every public authority there is takes
/// 250 KB.
pub const TLS_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Certificates that a listener shows: each client gets all of them.
pub const TLS_CHAIN_MAX: usize = 16;
/// Encrypted bytes of one connection that wait for its socket: one record. Who takes less than them in
/// [`WRITE_STALL_MAX`] counts as stalled, so it may be no more on a slow radio.
pub const TLS_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// A WebSocket connection's read buffer, beside [`READ_BUFFER_MIN`]: it is kept while it is idle.
pub const WEBSOCKET_READ_BUFFER: usize = 4 * 1024;
/// The same over TLS, which has read the bytes from the socket already: a further read is a copy.
pub const WEBSOCKET_READ_BUFFER_TLS: usize = 512;
/// The largest WebSocket message when `mqtt.packet_bytes_max` is less: clients put what they have
/// gathered into one.
pub const WEBSOCKET_MESSAGE_BYTES_MIN: usize = 1024 * 1024;
/// Answers to pings that wait for a WebSocket client that does not read.
pub const WEBSOCKET_PONG_BYTES_MAX: usize = 4 * 1024;
/// How often listeners' certificates are looked at for changes.
pub const TLS_LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Submissions waiting for the journal's writer. A full queue stops the sockets being read.
pub const JOURNAL_QUEUE_MAX: usize = 4096;
/// Bytes that those submissions hold in memory. A disk that stalls must not fill the memory with what
/// is not acknowledged.
pub const JOURNAL_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Submissions in one commit: bounds the time a commit takes and what a failed one holds back.
pub const JOURNAL_BATCH_MAX: usize = 2048;
/// Changed keys for which memory is kept from one commit to the next: more than a commit has but at a start or a
/// reload, when a million may change at once.
pub const STATE_CHANGES_KEPT: usize = 16 * JOURNAL_BATCH_MAX;
/// Time of one commit that timers may take when very many are due at once. The others are due in the next
/// one; publishes that do not depend on them are committed in between, so this and the commit itself are what
/// an acknowledgement waits for.
pub const JOURNAL_TIMERS_TIME: Duration = Duration::from_millis(20);
/// Submissions of a commit from which the next one may gather, when nobody waits for it: fewer are no
/// load, and are committed at once.
pub const JOURNAL_GATHER_MIN: usize = 3;
/// Payload bytes after which a commit is closed: bounds the memory of a transaction and its time.
pub const JOURNAL_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Jobs of other parts waiting for the journal's writer; a full queue makes them wait.
pub const JOURNAL_JOBS_MAX: usize = 64;
/// Bytes of records after which a block of a shard is closed: what a reader decodes at once.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the log that are worth a checkpoint.
pub const WAL_CHECKPOINT_BYTES: i64 = 32 * 1024 * 1024;
/// Length of the log from which commits are held off for a moment so that it can begin anew.
pub const WAL_RESTART_BYTES: i64 = 128 * 1024 * 1024;
/// Blocks of a shard deleted in one transaction by retention: milliseconds, messages wait behind it.
pub const RETENTION_BLOCKS_MAX: usize = 1000;
/// Runs of the gateway that retention looks back on: those of a year with two outages a day and more.
/// Beyond them the shortest outages count as time that has passed.
pub const RETENTION_RUNS_MAX: usize = 1000;
/// Bytes of a shard deleted in one transaction by retention.
pub const RETENTION_BYTES_MAX: i64 = 16 * 1024 * 1024;
/// Hits of one commit kept for the dashboard, the newest; counters count all.
pub const HITS_PER_COMMIT_MAX: usize = 256;
/// Hits read from the log at once.
pub const HITS_PAGE_MAX: usize = 500;
/// Output bytes of a hit kept for the dashboard; longer ones are cut.
pub const HIT_OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// Stored entries of a delivery read at once while a file is written.
pub const DELIVERY_READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files that one delivery writes at once, of different partitions: each has a thread and a file open.
pub const DELIVERY_FILES_MAX: usize = 4;
/// Partitions of a delivery that can be asked for at most: each has a task and rows of its own
/// (Firehose: 500).
pub const DELIVERY_PARTITIONS_MAX: usize = 5000;
/// Keys that name a partition (Firehose: 50).
pub const DELIVERY_PARTITION_KEYS_MAX: usize = 50;
/// The value of a partition key as a part of a path, bytes: with text around it, it fits a folder's name.
pub const DELIVERY_KEY_BYTES_MAX: usize = 128;
/// A prefix of delivered files, bytes (S3: 1,024 for a whole key).
pub const DELIVERY_PREFIX_BYTES_MAX: usize = 1024;
/// Name of a file or folder, bytes, as file systems have it.
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// The path of a field, bytes.
pub const FIELD_PATH_BYTES_MAX: usize = 256;
/// Deliveries that programs make: each has tasks, and files open while it writes.
pub const DELIVERIES_MADE_MAX: usize = 100;
/// Data of a record that is put into a delivery by Firehose's API, bytes (Firehose).
pub const FIREHOSE_RECORD_BYTES_MAX: usize = 1_024_000;
/// Records of one of its requests (Firehose).
pub const FIREHOSE_BATCH_RECORDS_MAX: usize = 500;
/// All data of one of its requests, bytes (Firehose).
pub const FIREHOSE_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Columns of a delivered table, those inside others counted: each has buffers, and a place in each row group.
pub const COLUMNS_MAX: usize = CSV_COLUMNS_MAX;
/// How deep a column's type, and a record that becomes a row, may be nested.
pub const COLUMN_NESTING_MAX: usize = 16;
/// Cells that one record may take in a table, those that are null counted: a list of empty objects takes as many for each
/// as they have columns.
pub const PARQUET_RECORD_CELLS_MAX: usize = 1 << 20;
/// Values of a row group, bytes: they are in memory, encoded too, for each file that is written.
pub const PARQUET_GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rows of a row group, where they take next to nothing.
pub const PARQUET_GROUP_ROWS_MAX: usize = 1 << 20;
/// What stands behind each raw record, bytes.
pub const DELIVERY_DELIMITER_BYTES_MAX: usize = 16;
/// How long a partition in which nothing waits is kept: as long as the tasks and rows of many are nothing.
pub const DELIVERY_PARTITION_IDLE: Duration = Duration::from_secs(10);
/// How long a sender waits with each batch while a delivery has little room left: it is slowed to one batch a
/// second, and its keep-alive is not in danger.
pub const DELIVERY_ROOM_WAIT: Duration = Duration::from_secs(1);
/// How long files may take that are written because the gateway stops.
pub const DELIVERY_STOP_FLUSH: Duration = Duration::from_secs(10);
/// How long who asks for a flush is kept waiting; it goes on without them.
pub const DELIVERY_FLUSH_WAIT: Duration = Duration::from_secs(60);
/// Messages of another broker that are judged and submitted as one batch.
pub const UPSTREAM_BATCH_MAX: usize = 512;
/// The same in bytes of payloads and topics: they are held until the commit.
pub const UPSTREAM_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// The longest wait before another broker is called again after the first failure; doubles,
pub const UPSTREAM_RETRY_FIRST: Duration = Duration::from_millis(500);
/// up to this: a broker that is back is found within half a minute.
pub const UPSTREAM_RETRY_MAX: Duration = Duration::from_secs(30);
/// A connection to another broker that stood for longer has not failed at once: the waits begin anew.
pub const UPSTREAM_STOOD: Duration = Duration::from_secs(10);
/// How long a message sent over MQTT 3.1.1 is expected back from a topic that is subscribed to.
pub const UPSTREAM_ECHO_WAIT: Duration = Duration::from_secs(60);
/// So many are: 24 bytes each.
pub const UPSTREAM_ECHOES_MAX: usize = 100_000;
/// The longest wait after the first failed flush of a delivery; doubles,
pub const DELIVERY_RETRY_FIRST: Duration = Duration::from_secs(1);
/// up to this: how late a directory that works again may be noticed.
pub const DELIVERY_RETRY_MAX: Duration = Duration::from_secs(60);
/// Calls that may wait for one hook, in the database. More go to its dead letters at once.
pub const HOOK_BACKLOG_MAX: u64 = 1_000_000;
/// Dead letters kept of one hook; the oldest go first.
pub const HOOK_DEAD_LETTERS_MAX: u64 = 100_000;
/// Calls of one hook in memory: read ahead, under way, and waiting for their next attempt.
pub const HOOK_CALLS_HELD_MAX: usize = 2048;
/// Bytes of those calls after which no more are read ahead.
pub const HOOK_CALL_BYTES_HELD_MAX: usize = 8 * 1024 * 1024;
/// Calls of one hook read at once, and outcomes recorded in one transaction.
pub const HOOK_PAGE_MAX: usize = 256;
/// The longest a Retry-After is obeyed.
pub const HOOK_RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// What is read of a response before its connection is given up; the answer itself is not used.
pub const HOOK_RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Characters of a hook's error text that are kept.
pub const HOOK_ERROR_CHARS_MAX: usize = 300;
/// Dead letters handed at once to whoever runs ON ERROR.
pub const HOOK_REPORTED_MAX: usize = 64;

const _: () = assert!(HOOK_PAGE_MAX < HOOK_CALLS_HELD_MAX, "a page fits what may be held");
const _: () = assert!(HOOK_CALLS_HELD_MAX > 1000, "the largest concurrency fits what may be held");
const _: () = assert!(WAL_CHECKPOINT_BYTES < WAL_RESTART_BYTES, "restarting is the second resort");
const _: () = assert!(BLOCK_BYTES_MAX <= JOURNAL_BATCH_BYTES_MAX, "a commit has whole blocks");

/// The configuration file, bytes.
pub const CONFIG_FILE_BYTES_MAX: usize = 1024 * 1024;
/// The name of a stream, delivery or hook, bytes (Kinesis: 1 to 128 characters).
pub const TARGET_NAME_BYTES_MAX: usize = 128;
/// One line of recorded telemetry, bytes: base64 of the largest MQTT packet we are ever set to take
/// would be longer, but no recording of telemetry comes near this.
pub const RECORDED_LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// MQTT connections that a replay opens at once; further devices share them.
pub const REPLAY_CONNECTIONS_MAX: usize = 1000;
/// Messages of one replayed device that may wait for their acknowledgement. An MQTT 3.1.1 broker
/// cannot say how many it takes; Mosquitto's default is 20, and it closes the connection over more
/// at QoS 2.
pub const REPLAY_INFLIGHT_MAX: u16 = 20;
/// A request body of the API, bytes: a record of [`RECORD_BYTES_MAX`] in base64, its key, and the JSON
/// around them.
pub const API_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long a record put over HTTP may take to be committed. After it the client is told that the
/// outcome is unknown.
pub const API_COMMIT_MAX: Duration = Duration::from_secs(10);
/// What a client that is told to come back later is told to wait.
pub const API_RETRY_AFTER: Duration = Duration::from_secs(5);
/// A request's head, bytes; also what a connection buffers at once of a body.
pub const HTTP_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Publishes over HTTP that are under way: each holds a payload, and an acknowledgement to come.
pub const HTTP_PUBLISHES_MAX: usize = 512;
/// Retained messages on one page, when asked for the most (AWS IoT: 200),
pub const RETAINED_PAGE_MAX: usize = 200;
/// and when nothing is asked for.
pub const RETAINED_PAGE_DEFAULT: usize = 50;
/// What a function may answer, bytes (AWS Lambda: 6 MB).
pub const FUNCTION_ANSWER_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Connections of one process of a function to its Runtime API: one asks, another answers.
pub const FUNCTION_CONNECTIONS_MAX: usize = 8;
/// The longest line of a function's output that is logged whole, bytes.
pub const FUNCTION_LINE_BYTES_MAX: usize = 8 * 1024;
/// Lines of a process of a function that are logged in a second; what is more is left out.
pub const FUNCTION_LINES_A_SECOND_MAX: u32 = 1_000;
/// Wait after a function did not start; doubles,
pub const FUNCTION_START_BACKOFF: Duration = Duration::from_millis(100);
/// up to this.
pub const FUNCTION_START_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Names that `http.hosts` may list: each request is compared with them.
pub const HTTP_HOSTS_MAX: usize = 64;
/// HTTP connections over `connections_max` that are still answered with the reason; more are closed
/// unread.
pub const HTTP_REFUSALS_MAX: usize = 16;
/// How long a connection that is to be refused may take to ask.
pub const HTTP_REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long requests under way may take when the gateway stops.
pub const HTTP_SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// The query of a request, bytes: three times a rule name and a cursor, percent-encoded, with room.
pub const API_QUERY_BYTES_MAX: usize = 4 * 1024;
/// Items on one page of any list, when asked for the most.
pub const API_PAGE_MAX: usize = 500;
/// Items on one page when nothing is asked for.
pub const API_PAGE_DEFAULT: usize = 100;
/// Data in one answer of stream records, bytes (Kinesis GetRecords: 10 MB).
pub const API_RECORDS_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Output or body shown in a list, bytes; longer ones are cut there and whole on their own page.
pub const LISTED_PAYLOAD_BYTES_MAX: usize = 4 * 1024;
/// Pending and firing keys shown with a rule, of each.
pub const HOLDS_SHOWN_MAX: usize = 100;
/// Subscriptions shown with a client.
pub const CLIENT_SUBSCRIPTIONS_SHOWN: usize = 20;
/// Live pages at once. Each costs a task that wakes ten times a second.
pub const EVENT_CLIENTS_MAX: usize = 64;
/// How often a live page is sent what happened. Hits in between travel together.
pub const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Counters are sent each so many [`EVENT_INTERVAL`]s: once a second.
pub const EVENT_TICKS_PER_STATS: u32 = 10;
/// Hits in one live message. More than this cannot be read; the newest are sent and the others counted.
pub const EVENT_HITS_MAX: usize = 50;
/// Whole seconds repeated in each live message of counters, so that one sent late leaves no hole.
pub const EVENT_SERIES_SECONDS: usize = 5;
/// Hits that wait for the slowest live page: 4 MB of views at most.
pub const FEED_HITS_MAX: usize = 1024;
/// A rule counts as faulting this long after a fault.
pub const FAULTING_FOR: Duration = Duration::from_secs(60);
/// Rates are remembered second by second for five minutes,
pub const SERIES_SECONDS: usize = 300;
/// and minute by minute for a day.
pub const SERIES_MINUTES: usize = 24 * 60;
/// Rules with a series of their own in one answer, the busiest ones: 300 KB for a day. (The chart has
/// colours for eight; the others' series are the small ones in the table.)
pub const SERIES_RULES_MAX: usize = 50;

const _: () = assert!(TABLE_FILE_BYTES_MAX <= TABLE_FILES_BYTES_MAX, "one table fits a set");
const _: () = assert!(EVENT_WAITING_PER_KEY_MAX <= EVENT_WAITING_MAX, "a key's are a rule's");
const _: () =
    assert!(EVENT_WAITING_BYTES_PER_KEY_MAX <= EVENT_WAITING_BYTES_MAX, "a key's are a rule's");
const _: () = assert!(READ_BUFFER_MIN <= READ_BUFFER_MAX, "the buffer grows");
const _: () = assert!(GATHER_BYTES_MAX <= READ_BUFFER_MAX, "one read takes what was gathered");
const _: () = assert!(GATHER_BYTES_MIN > 1, "a fast client's mark is more than anything at all");
const _: () = assert!(JOURNAL_BATCH_MAX <= JOURNAL_QUEUE_MAX, "a commit can empty the queue");
const _: () =
    assert!(JOURNAL_BATCH_BYTES_MAX * 2 <= JOURNAL_QUEUE_BYTES_MAX, "the next commit can fill up");
const _: () = assert!(
    LEASE_BODY_BYTES_MAX * LEASE_TREE_GROWTH * 2 <= KINESIS_BYTES_MAX,
    "a request for leases leaves room for others"
);
const _: () = assert!(OUTPUT_BYTES_MAX <= RECORD_BYTES_MAX, "an output fits a stream record");
const _: () = assert!(
    API_BODY_BYTES_MAX > RECORD_BYTES_MAX.div_ceil(3) * 4 + 4 * PARTITION_KEY_CHARS_MAX,
    "the largest record fits a request"
);
const _: () = assert!(API_RECORDS_BYTES_MAX > RECORD_BYTES_MAX, "an answer holds any record");
const _: () = assert!(EVENT_SERIES_SECONDS <= SERIES_SECONDS, "the ring reaches that far");
