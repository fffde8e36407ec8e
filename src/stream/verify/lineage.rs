//! What the shards of a stream are to each other.

use crate::stream::ShardId;

use super::table::ShardRow;
use super::table::StreamRow;

/// What is wrong with the shards of a stream, which come in the order of their numbers.
pub(super) fn check(stream: &StreamRow, shards: &[ShardRow]) -> Vec<(Option<ShardId>, String)> {
    let mut wrong = Vec::new();
    for shard in shards {
        let found = [alone(stream, shard), parents(shards, shard)];
        wrong.extend(found.into_iter().flatten().map(|message| (Some(shard.id), message)));
    }
    wrong.extend(coverage(shards).map(|message| (None, message)));
    wrong
}

fn alone(stream: &StreamRow, shard: &ShardRow) -> Option<String> {
    if shard.range.start > shard.range.end {
        return Some("its hash keys end before they begin".to_owned());
    }
    if shard.id.0 >= stream.shards_made {
        return Some(format!("its number was never given out: {} were", stream.shards_made));
    }
    if shard.closed_at.is_some() != shard.closed_block.is_some() {
        return Some("it is closed without an end, or has an end without being closed".to_owned());
    }
    if let Some(last) = shard.closed_block
        && last > shard.tail.block
    {
        let tail = shard.tail.block;
        return Some(format!("it was closed with block {last}, and its last one is {tail}"));
    }
    None
}

fn parents(shards: &[ShardRow], shard: &ShardRow) -> Option<String> {
    let ids = shard.parents.iter().flatten();
    let kept = ids.clone().filter_map(|id| shards.iter().find(|other| other.id == *id));
    if let Some(id) = ids.clone().find(|id| **id >= shard.id) {
        return Some(format!("it is older than its parent {id}"));
    }
    for parent in kept {
        let id = parent.id;
        let Some(closed_at) = parent.closed_at else {
            return Some(format!("its parent {id} is open"));
        };
        if closed_at > shard.opened_at {
            return Some(format!("it was opened before its parent {id} was closed"));
        }
        if shard.made <= parent.made {
            return Some(format!("its sequence numbers are not above those of its parent {id}"));
        }
        if shard.range.start > parent.range.end || shard.range.end < parent.range.start {
            return Some(format!("its hash keys are none of its parent's, {id}"));
        }
    }
    None
}

/// Open shards take every hash key, each once.
fn coverage(shards: &[ShardRow]) -> Option<String> {
    let mut open: Vec<&ShardRow> =
        shards.iter().filter(|shard| shard.closed_at.is_none()).collect();
    open.sort_by_key(|shard| shard.range.start);
    let Some((first, last)) = open.first().zip(open.last()) else {
        return Some("it has no open shard".to_owned());
    };
    if first.range.start > 0 || last.range.end < u128::MAX {
        return Some("its open shards do not take all hash keys".to_owned());
    }
    let apart =
        open.windows(2).find(|two| two[0].range.end.checked_add(1) != Some(two[1].range.start));
    apart.map(|two| {
        let (left, right) = (two[0].id, two[1].id);
        format!("the hash keys of {left} and {right} overlap, or some between them are no shard's")
    })
}
