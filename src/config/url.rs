//! Checks of the addresses in the settings: scheme, host, port, no credentials.

/// Returns what is wrong with `url`, worded to follow it: "… has no host".
pub(super) fn check(url: &str, schemes: &[&str]) -> Result<(), String> {
    let rest = schemes
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme)?.strip_prefix("://"))
        .ok_or_else(|| format!("does not begin with {}://", schemes.join(":// or ")))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("contains credentials".into());
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("none"))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("has no host".into());
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(_) => Err("has no usable port".into()),
    }
}
