//! Where a replay publishes to.

use std::fmt;
use std::str::FromStr;

/// `mqtt://host:port`; the scheme and the port may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct BrokerAddress {
    /// Name or address; an IPv6 address in brackets.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
}

/// MQTT's registered port.
const DEFAULT_PORT: u16 = 1883;

impl FromStr for BrokerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            None => text,
            Some(("mqtt" | "tcp", rest)) => rest,
            Some((scheme, _)) => {
                return Err(format!("\"{scheme}\" is not supported; expected mqtt://host:port"));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            // The last colon of a bare "[::1]" is part of the address.
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, port.ok_or("the port must be a number from 1 to 65535")?)
            }
            _ => (rest, DEFAULT_PORT),
        };
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err("expected mqtt://host:port".to_owned());
        }
        if host.contains(':') && !is_bracketed {
            return Err("an IPv6 address stands in brackets: mqtt://[::1]:1883".to_owned());
        }
        Ok(BrokerAddress { host: host.to_owned(), port })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<String, String> {
        text.parse::<BrokerAddress>().map(|address| address.to_string())
    }

    #[test]
    fn scheme_and_port_may_be_left_out() {
        for text in ["mqtt://lab:1883", "tcp://lab", "lab:1883", "lab", "mqtt://lab:1883/"] {
            assert_eq!(address(text).unwrap(), "mqtt://lab:1883");
        }
        assert_eq!(address("mqtt://[::1]:2").unwrap(), "mqtt://[::1]:2");
        assert_eq!(address("[::1]").unwrap(), "mqtt://[::1]:1883");
    }

    #[test]
    fn what_is_no_broker_address_is_refused() {
        for text in ["", "mqtt://", "mqtts://lab", "lab:0", "lab:70000", "::1", "u:p@lab:1", "a/b"]
        {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
