"""NetworkPolicies and Services as rules of nftables inside the pods that they are of. Pure.

What the manifests use is here: selectors of pods of the same namespace, ports by name or number.
Anything else ends with a KeyError rather than being let through.
"""
from deploy.workloads import containers, pod_labels, selects


def port_numbers(port, workload):
    """Of a policy's port at a pod, whose ports have names."""
    if isinstance(port, int):
        return [port]
    return [p["containerPort"] for c in containers(workload) for p in c["ports"]
            if p["name"] == port]


def policies_of(objects, workload, direction):
    return [o for o in objects if o["kind"] == "NetworkPolicy"
            and direction in o["spec"]["policyTypes"]
            and selects(o["spec"]["podSelector"].get("matchLabels"), pod_labels(workload))]


def peers_of(rule, side, pods):
    """[(workload, address)] that a rule names; None: anybody."""
    if side not in rule:
        return None
    wanted = [peer["podSelector"]["matchLabels"] for peer in rule[side]]
    return [(workload, address) for workload, address in pods
            if any(selects(labels, pod_labels(workload)) for labels in wanted)]


def match(address_word, address, ports):
    """One nftables rule for what comes from or goes to an address; `ports` by protocol."""
    who = f"ip {address_word} {address} " if address else ""
    if ports is None:
        return [f"{who}accept"]
    return [f"{who}{protocol} dport {number} accept" for protocol, numbers in ports.items()
            for number in numbers]


def ports_at(rule, workload):
    if "ports" not in rule:
        return None
    found = {}
    for port in rule["ports"]:
        found.setdefault(port.get("protocol", "TCP").lower(), []).extend(
            port_numbers(port["port"], workload))
    return found


def allowed(objects, workload, pods, incoming):
    """Rules that accept, of one direction; None where no policy speaks of it."""
    direction, side, word = (("Ingress", "from", "saddr") if incoming
                             else ("Egress", "to", "daddr"))
    policies = policies_of(objects, workload, direction)
    if not policies:
        return None
    rules = []
    for rule in [r for p in policies for r in p["spec"].get(direction.lower(), [])]:
        peers = peers_of(rule, side, pods)
        if peers is None:
            rules += match(word, None, ports_at(rule, workload))
        for peer, address in peers or []:
            rules += match(word, address, ports_at(rule, workload if incoming else peer))
    return rules


def policy_chains(objects, workload, pods, node):
    """Of a pod of `workload`. `pods`: [(workload, address)] of all that run; `node`: the address of
    the kubelet, which reaches every pod whatever policies say."""
    lines = []
    for name, hook, device, word in (("incoming", "input", "iif", "saddr"),
                                     ("outgoing", "output", "oif", "daddr")):
        rules = allowed(objects, workload, pods, hook == "input")
        if rules is not None:
            lines += [f"chain {name} {{ type filter hook {hook} priority 0; policy drop;",
                      f"{device} lo accept", "ct state established,related accept",
                      f"ip {word} {node} accept", *rules, "}"]
    return lines


def service_chains(services):
    """What kube-proxy does for who asks a Service with an address: [(address, port, targets)], a
    target being (address, port) of a pod; without one, connections are refused."""
    to_pods, refused = [], []
    for address, port, targets in services:
        asked = f"ip daddr {address} tcp dport {port}"
        if targets:
            to_pods.append(f"{asked} dnat ip to {targets[0][0]}:{targets[0][1]}")
        else:
            refused.append(f"{asked} reject with tcp reset")
    return ["chain services { type nat hook output priority -100; policy accept;", *to_pods, "}",
            "chain refused { type filter hook output priority -10; policy accept;", *refused, "}"]


def ruleset(chains):
    """The text for `nft -f`, in place of what was there."""
    return "\n".join(["flush ruleset", "table inet pod {", *chains, "}"]) + "\n"
