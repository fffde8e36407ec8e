//! Shared subscriptions (MQTT 5, section 4.8.2). MQTT 3.1.1 clients may use them too.

use super::wire::*;
use super::*;

fn client(gateway: &Gateway) -> Client {
    Client::connect(gateway, &Connect::new(V5, &unique()))
}

/// MQTT 5: [MQTT-4.8.2-1], [MQTT-4.8.2-2].
#[test]
fn a_shared_subscription_has_a_name_and_a_filter() {
    let gateway = gateway();
    let mut client = client(&gateway);
    for filter in [
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/g+/a",
        "$share/#/a",
        "$share/g/a#",
    ] {
        client.send(&subscribe(V5, 1, &[(filter, 0)]));
        assert_eq!(client.recv().last(), Some(&0x8f), "{filter}");
    }
    let name = unique();
    for filter in
        [format!("$share/g/{name}/+"), format!("$share/ü b//{name}"), format!("$share/g/{name}")]
    {
        client.subscribe(&filter, 0);
    }
    client.publish(&Publish::new(&format!("/{name}"), 0, 0, b"x"));
    client.hears(&Publish::new(&format!("/{name}"), 0, 0, b"x"));
    // It is no topic that begins with `$share`, and another case is another word.
    client.publish(&Publish::new(&format!("$share/g/{name}"), 0, 0, b"x"));
    client.subscribe(&format!("$SHARE/g/{name}"), 0);
    client.publish(&Publish::new(&format!("$SHARE/g/{name}"), 0, 0, b"y"));
    client.hears(&Publish::new(&format!("$SHARE/g/{name}"), 0, 0, b"y"));
}

/// MQTT 5: [MQTT-4.8.2-3].
#[test]
fn each_member_gets_its_share_with_its_own_qos() {
    let gateway = gateway();
    let topic = unique();
    let filter = format!("$share/g/{topic}");
    let mut members: Vec<(Client, u8)> = [0, 1, 2].map(|qos| (client(&gateway), qos)).into();
    for (member, qos) in &mut members {
        member.subscribe(&filter, *qos);
    }
    let mut others = client(&gateway);
    others.subscribe(&format!("$share/other/{topic}"), 0);
    let mut from = client(&gateway);
    for n in 0..6_u16 {
        from.publish(&Publish::new(&topic, 2, n + 1, &n.to_be_bytes()));
        others.hears(&Publish::new(&topic, 0, 0, &n.to_be_bytes()));
    }
    let mut seen = Vec::new();
    for (member, qos) in &mut members {
        for _ in 0..2 {
            let message = member.message();
            assert_eq!(message.qos, *qos);
            seen.push(message.payload);
        }
    }
    seen.sort();
    let all: Vec<Vec<u8>> = (0..6_u16).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(seen, all, "each message once, and each member in its turn");
    members.iter_mut().for_each(|(member, _)| member.settle());
    // A retained message is not sent to a shared subscription.
    from.publish(&Publish::new(&topic, 1, 1, b"").retained());
    let mut late = client(&gateway);
    let kept = unique();
    from.publish(&Publish::new(&kept, 1, 1, b"kept").retained());
    late.subscribe(&format!("$share/g/{kept}"), 1);
    late.expect_nothing();
}

/// MQTT 5: [MQTT-4.8.2-4], [MQTT-4.8.2-5].
#[test]
fn a_qos_2_message_stays_with_the_member_that_may_have_seen_it() {
    let gateway = gateway();
    let topic = unique();
    let filter = format!("$share/g/{topic}");
    let name = unique();
    let mut first = Client::connect(&gateway, &Connect::lasting(V5, &name));
    first.subscribe(&filter, 2);
    let mut from = client(&gateway);
    from.publish(&Publish::new(&topic, 2, 1, b"seen"));
    let id = first.hears(&Publish::new(&topic, 2, 0, b"seen")).id;
    let mut second = client(&gateway);
    second.subscribe(&filter, 2);
    first.vanish();
    second.expect_nothing();
    let mut first = Client::connect(&gateway, &Connect::lasting(V5, &name));
    assert_eq!(first.hears(&Publish::new(&topic, 2, 0, b"seen").again()).id, id);
    // Its session ends: nobody gets it.
    first.vanish();
    Client::connect(&gateway, &Connect::new(V5, &name)).settle();
    second.expect_nothing();
}

/// MQTT 5: [MQTT-4.8.2-6].
#[test]
fn what_a_member_refuses_goes_to_nobody_else() {
    let gateway = gateway();
    let topic = unique();
    let filter = format!("$share/g/{topic}");
    let mut first = client(&gateway);
    first.subscribe(&filter, 2);
    let mut from = client(&gateway);
    for (qos, answer) in [(1, PUBACK), (2, PUBREC)] {
        from.publish(&Publish::new(&topic, qos, 1, b"no"));
        let id = first.hears(&Publish::new(&topic, qos, 0, b"no")).id;
        first.send(&ack_because(answer, id, 0x80));
    }
    let mut second = client(&gateway);
    second.subscribe(&filter, 2);
    first.leave();
    second.expect_nothing();
}
