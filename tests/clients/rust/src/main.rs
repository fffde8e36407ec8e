//! The AWS SDK for Rust against a Kinesis API: puts, reads, is refused, and is pushed records. Prints what it saw as JSON.
//!
//! `kinesis-client ENDPOINT [CA]`: over HTTP/1.1, or over TLS that trusts the authority in the file `CA`, where the
//! SDK speaks HTTP/2.

use std::error::Error;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::Config;
use aws_sdk_kinesis::config::BehaviorVersion;
use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::config::Region;
use aws_sdk_kinesis::config::SharedHttpClient;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_kinesis::types::StartingPosition;
use aws_sdk_kinesis::types::SubscribeToShardEventStream;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls;

type Outcome<T> = Result<T, Box<dyn Error>>;

const STREAM: &str = "rust";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().ok_or("kinesis-client ENDPOINT [CA]")?;
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(endpoint)
        .http_client(http_client(arguments.next())?);
    let client = Client::from_conf(config.build());
    client.create_stream().stream_name(STREAM).shard_count(1).send().await?;
    let read = put_and_read(&client).await?;
    let refused = refusal(&client).await;
    let pushed = subscribe(&client).await?;
    println!("{{{read}, \"refused\": {refused:?}, {pushed}}}");
    Ok(())
}

fn http_client(authority: Option<String>) -> Outcome<SharedHttpClient> {
    let Some(file) = authority else { return Ok(Builder::new().build_http()) };
    let trusted = tls::TrustStore::empty().with_pem_certificate(std::fs::read(file)?);
    let context = tls::TlsContext::builder().with_trust_store(trusted).build()?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    Ok(Builder::new().tls_provider(provider).tls_context(context).build_https())
}

/// Puts 100 records one way and the other, and reads them from the beginning.
async fn put_and_read(client: &Client) -> Outcome<String> {
    let mut failed = 0;
    for batch in 0..4 {
        let entry = |n: u32| {
            let entry = PutRecordsRequestEntry::builder().partition_key(format!("k{n}"));
            entry.data(Blob::new(format!("{}", batch * 25 + n))).build()
        };
        let entries: Vec<_> = (0..24).map(entry).collect::<Result<_, _>>()?;
        let put =
            client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await?;
        failed += put.failed_record_count().unwrap_or_default();
        let one = client.put_record().stream_name(STREAM).partition_key("ü");
        one.data(Blob::new(format!("{}", batch * 25 + 24))).send().await?;
    }
    let shards = client.list_shards().stream_name(STREAM).send().await?;
    let shard = shards.shards().first().ok_or("a stream has a shard")?.shard_id().to_owned();
    let place = client.get_shard_iterator().stream_name(STREAM).shard_id(&shard);
    let place = place.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?;
    let (mut next, mut numbers, mut arrived) = (place.shard_iterator, Vec::new(), true);
    while let Some(iterator) = next {
        let page = client.get_records().shard_iterator(iterator).limit(40).send().await?;
        for record in page.records() {
            numbers.push(String::from_utf8(record.data().as_ref().to_vec())?.parse::<u32>()?);
            arrived &= record.approximate_arrival_timestamp().is_some_and(|at| at.secs() > 0);
        }
        let is_over = page.records().is_empty();
        next = page.next_shard_iterator.filter(|_| !is_over);
    }
    let in_order = numbers.iter().copied().eq(0..100);
    Ok(format!("\"failed\": {failed}, \"in_order\": {in_order}, \"arrived\": {arrived}"))
}

/// What reading a stream that is not there is answered, as the SDK types it.
async fn refusal(client: &Client) -> String {
    let Err(error) = client.describe_stream_summary().stream_name("none").send().await else {
        return "nothing".to_owned();
    };
    let error = error.into_service_error();
    let message = error.meta().message().unwrap_or_default().to_owned();
    format!("{}: {message}", error.is_resource_not_found_exception())
}

/// Is pushed what comes while the answer goes on.
async fn subscribe(client: &Client) -> Outcome<String> {
    let stream = client.describe_stream_summary().stream_name(STREAM).send().await?;
    let arn = stream.stream_description_summary().ok_or("a summary")?.stream_arn().to_owned();
    let consumer =
        client.register_stream_consumer().stream_arn(arn).consumer_name("c").send().await?;
    let consumer = consumer.consumer().ok_or("a consumer")?.consumer_arn().to_owned();
    let latest = StartingPosition::builder().r#type(ShardIteratorType::Latest).build()?;
    let subscription = client.subscribe_to_shard().consumer_arn(consumer);
    let subscription = subscription.shard_id("shardId-000000000000").starting_position(latest);
    let mut events = subscription.send().await?.event_stream;
    let put = |n: usize| {
        client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new(n.to_string()))
    };
    put(0).send().await?;
    let (mut data, mut goes_on) = (Vec::new(), true);
    while data.len() < 5 {
        let event = events.recv().await?.ok_or("the subscription has ended")?;
        let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event else { continue };
        goes_on &= event.continuation_sequence_number().parse::<u128>().is_ok();
        for record in event.records() {
            data.push(String::from_utf8(record.data().as_ref().to_vec())?);
            put(data.len()).send().await?;
        }
    }
    Ok(format!("\"pushed\": {data:?}, \"goes_on\": {goes_on}"))
}
