// The pictures of docs/cni: one for each plugin, with the addresses of the example on its page.

/** @typedef {import("./draw.mjs").Picture} Picture */
/** @typedef {import("./draw.mjs").Place} Place */
/** @typedef {import("./draw.mjs").Node} Node */

/** @param {string} id @param {readonly string[]} lines @param {string} title @returns {Place} */
const container = (id, lines, title = "container") => ({ title, columns: [[{ id, name: "eth0", lines }]] });

/** @param {string} title @returns {Place} */
const outside = (title = "outside") => ({ title, columns: [[{ id: "wire", name: "others", kind: "text" }]] });

/** @type {Node} */
const uplink = { id: "up", name: "eth0", lines: ["192.0.2.1"] };

/** @type {readonly Picture[]} */
export const pictures = [
  {
    name: "bandwidth",
    alt: "What goes to the container waits in a queue on the host's end of its pair, veth; what comes from the container is redirected from there to an ifb device and waits in its queue, before it goes on to the bridge.",
    columns: [
      [container("a", ["10.88.11.2"])],
      [
        {
          title: "host",
          columns: [
            [{ id: "veth", name: "veth3f9a10c2" }],
            [
              { id: "queue", name: "its queue", lines: ["100 Mbit/s in"], kind: "table" },
              { id: "ifb", name: "ifb bwp02f1...", lines: ["50 Mbit/s out"], kind: "table" },
            ],
            [{ id: "br", name: "bandwidth0", lines: ["10.88.11.1"], kind: "bar" }],
            [{ ...uplink, level: "veth" }],
          ],
        },
      ],
      [outside()],
    ],
    wires: [
      { from: "a", to: "veth" },
      { from: "veth", to: "queue", kind: "back" },
      { from: "veth", to: "ifb", kind: "arrow" },
      { from: "queue", to: "br", kind: "back" },
      { from: "ifb", to: "br", kind: "arrow" },
      { from: "br", to: "up" },
      { from: "up", to: "wire" },
    ],
    notes: [
      "Both queues are the host's: the container cannot reach them. Peers in unshapedSubnets pass them by.",
    ],
  },
  {
    name: "bridge",
    alt: "Two containers, each with a veth pair to a port of the host's bridge example0, which is their gateway; the host masquerades what leaves by its eth0.",
    columns: [
      [
        container("a", ["10.88.20.2", "fd88:20::2"]),
        container("b", ["10.88.20.3", "fd88:20::3"], "second container"),
      ],
      [
        {
          title: "host",
          columns: [
            [
              { id: "va", name: "veth3f9a10c2", level: "a" },
              { id: "vb", name: "veth81d05b7e", level: "b" },
            ],
            [{ id: "br", name: "example0", lines: ["10.88.20.1", "fd88:20::1"], kind: "bar" }],
            [uplink],
          ],
        },
      ],
      [outside()],
    ],
    wires: [
      { from: "a", to: "va" },
      { from: "b", to: "vb" },
      { from: "va", to: "br" },
      { from: "vb", to: "br" },
      { from: "br", to: "up", label: "routes, masquerades" },
      { from: "up", to: "wire" },
    ],
    notes: [
      "The veths are ports of the bridge: vlan, macspoofchk, portIsolation and hairpinMode are theirs.",
    ],
  },
  {
    name: "dhcp",
    alt: "The plugin asks the daemon, weft dhcp daemon, over a socket; the daemon gets a lease from the DHCP server outside through the container's own interface, a macvlan of the host's eth0, and renews it.",
    columns: [
      [
        {
          title: "host",
          columns: [
            [{ id: "plugin", name: "dhcp", lines: ["the plugin"], kind: "program" }],
            [{ id: "daemon", name: "weft dhcp daemon", lines: ["keeps and renews leases"], kind: "program" }],
          ],
        },
      ],
      [container("a", ["an address that", "the server chose"])],
      [{ title: "outside", columns: [[{ id: "server", name: "DHCP server", kind: "program" }]] }],
    ],
    wires: [
      { from: "plugin", to: "daemon", label: "dhcp.sock", kind: "both" },
      { from: "daemon", to: "a", label: "its namespace" },
      { from: "a", to: "server", label: "DISCOVER, REQUEST", kind: "both" },
    ],
    notes: ["The daemon's packets leave by the container's interface, so the server sees the container."],
  },
  {
    name: "dummy",
    alt: "A container with two interfaces: eth0 of another network, connected with the host, and the dummy net1, which is connected with nothing and has the address 198.51.100.2; packets for it come in by eth0.",
    columns: [
      [
        {
          title: "container",
          columns: [
            [{ id: "net1", name: "net1", lines: ["198.51.100.2", "2001:db8:100::2"] }],
            [{ id: "eth0", name: "eth0", lines: ["of another network"] }],
          ],
        },
      ],
      [{ title: "host", columns: [[{ id: "veth", name: "the other network", kind: "text" }]] }],
    ],
    wires: [{ from: "eth0", to: "veth" }],
    notes: ["A dummy leads nowhere: it holds an address, whose", "packets come in by another interface."],
  },
  {
    name: "firewall",
    alt: "Two bridges of the host. Connections between them are refused by the policy same-bridge; containers of one bridge reach each other and the outside.",
    columns: [
      [
        container("a", ["10.88.13.2"]),
        container("b", ["10.88.13.3"], "second container"),
        container("c", ["10.88.14.2"], "of another network"),
      ],
      [
        {
          title: "host",
          columns: [
            [
              { id: "one", name: "firewall0", lines: ["10.88.13.1"], kind: "link" },
              { id: "two", name: "firewall1", lines: ["10.88.14.1"], kind: "link", level: "c" },
            ],
            [
              {
                id: "table",
                name: "firewall4",
                lines: ["10.88.13.2 : same-bridge", "10.88.13.3 : same-bridge", "10.88.14.2 : same-bridge"],
                kind: "table",
              },
            ],
            [uplink],
          ],
        },
      ],
      [outside()],
    ],
    wires: [
      { from: "a", to: "one" },
      { from: "b", to: "one" },
      { from: "c", to: "two" },
      { from: "one", to: "table" },
      { from: "one", to: "two", kind: "refused" },
      { from: "two", to: "table" },
      { from: "table", to: "up" },
      { from: "up", to: "wire" },
    ],
    notes: [
      "What the host forwards is looked up once, by the container's address. From one bridge to the other: refused.",
    ],
  },
  {
    name: "host-device",
    alt: "A device of the host, eth1, is moved into the container, where it is called net1, with the wire that is plugged into it; DEL brings it back and gives it the name and the state that are in its record.",
    columns: [
      [
        {
          title: "host",
          columns: [
            [
              { id: "gone", name: "(eth1)", lines: ["not here meanwhile"], kind: "table" },
              { id: "record", name: "its record", lines: ["name, state, MTU, alias"], kind: "table" },
            ],
          ],
        },
      ],
      [{ title: "container", columns: [[{ id: "a", name: "net1", lines: ["eth1 itself"], level: "gone" }]] }],
      [{ title: "outside", columns: [[{ id: "wire", name: "others", kind: "text", level: "gone" }]] }],
    ],
    wires: [
      { from: "gone", to: "a", label: "ADD, and DEL back", kind: "both" },
      { from: "a", to: "wire" },
    ],
    notes: [
      "The cable goes with the device: the container is on the wire outside, past the host's routes and rules.",
    ],
  },
  {
    name: "host-local",
    alt: "The plugin that makes the interface asks host-local for addresses; host-local looks into its files for a free one of each list of ranges and writes down who has it.",
    columns: [
      [container("a", ["10.88.30.10", "fd88:30::2"])],
      [
        {
          title: "host",
          columns: [
            [{ id: "bridge", name: "bridge", lines: ["or any other plugin"], kind: "program" }],
            [{ id: "ipam", name: "host-local", kind: "program" }],
            [
              {
                id: "leases",
                name: "networks/NETWORK/",
                lines: ["10.88.30.10", "fd88:30::2", "last_reserved_ip.0"],
                kind: "table",
              },
              { id: "records", name: ".weft/NETWORK", lines: ["who has which"], kind: "table" },
            ],
          ],
        },
      ],
    ],
    wires: [
      { from: "a", to: "bridge", label: "makes", kind: "back" },
      { from: "bridge", to: "ipam", label: "asks", kind: "both" },
      { from: "ipam", to: "leases", kind: "both" },
      { from: "ipam", to: "records", kind: "both" },
    ],
    notes: ["A file is a lease: its name is the address, in it stands whose it is."],
  },
  {
    name: "ipvlan",
    alt: "Two containers with an ipvlan each on the host's eth0. All have eth0's hardware address, and addresses of the network outside; the host itself does not reach them by eth0.",
    columns: [
      [
        container("a", ["192.0.2.100", "MAC of the master"]),
        container("b", ["192.0.2.101", "MAC of the master"], "second container"),
      ],
      [
        {
          title: "host",
          columns: [
            [{ id: "host", name: "the host's own", lines: ["192.0.2.1"], kind: "table" }],
            [{ id: "up", name: "eth0", lines: ["the master"], kind: "bar" }],
          ],
        },
      ],
      [outside("the wire: 192.0.2.0/24")],
    ],
    wires: [
      { from: "a", to: "up" },
      { from: "b", to: "up" },
      { from: "host", to: "up" },
      { from: "up", to: "wire" },
    ],
    notes: [
      "On the wire there is one hardware address, whoever sends. Between the host's own address and",
      "the containers nothing passes on the master.",
    ],
  },
  {
    name: "loopback",
    alt: "A container in which lo is up, with 127.0.0.1 and ::1.",
    columns: [
      [{ title: "container", columns: [[{ id: "lo", name: "lo", lines: ["127.0.0.1/8", "::1/128"] }]] }],
    ],
    notes: ["lo is there anyway; the plugin brings it up."],
  },
  {
    name: "macvlan",
    alt: "Two containers with a macvlan each on the host's eth0, with hardware addresses of their own and addresses of the network outside; they are on the wire beside the others, and the host itself does not reach them by eth0.",
    columns: [
      [
        container("a", ["192.0.2.100", "a MAC of its own"]),
        container("b", ["192.0.2.101", "a MAC of its own"], "second container"),
      ],
      [
        {
          title: "host",
          columns: [
            [{ id: "host", name: "the host's own", lines: ["192.0.2.1"], kind: "table" }],
            [{ id: "up", name: "eth0", lines: ["the master"], kind: "bar" }],
          ],
        },
      ],
      [outside("the wire: 192.0.2.0/24")],
    ],
    wires: [
      { from: "a", to: "up" },
      { from: "b", to: "up" },
      { from: "host", to: "up" },
      { from: "up", to: "wire" },
    ],
    notes: [
      "In mode bridge the containers reach each other directly. Between the host's own address and",
      "the containers nothing passes on the master.",
    ],
  },
  {
    name: "portmap",
    alt: "A caller outside connects to port 8080 of the host's address 192.0.2.1; a map of nftables leads the connection to port 80 of the container, which sees the caller's address.",
    columns: [
      [container("a", ["10.88.12.2", "port 80"])],
      [
        {
          title: "host",
          columns: [
            [{ id: "br", name: "portmap0", lines: ["10.88.12.1"], kind: "bar" }],
            [{ id: "map", name: "portmap4", lines: ["tcp . 8080 :", "10.88.12.2 . 80"], kind: "table" }],
            [uplink],
          ],
        },
      ],
      [{ title: "outside", columns: [[{ id: "caller", name: "caller", lines: ["192.0.2.2"] }]] }],
    ],
    wires: [
      { from: "a", to: "br", kind: "back" },
      { from: "br", to: "map", kind: "back" },
      { from: "map", to: "up", kind: "back" },
      { from: "up", to: "caller", label: "192.0.2.1:8080", kind: "back" },
    ],
    notes: [
      "The container sees the caller's address. Only what is for an address of the host itself is mapped.",
    ],
  },
  {
    name: "ptp",
    alt: "Two containers, each with a veth pair of its own to the host, whose ends both have the gateway's address; the host routes between them and to the outside.",
    columns: [
      [container("a", ["10.88.21.2/24"]), container("b", ["10.88.21.3/24"], "second container")],
      [
        {
          title: "host",
          columns: [
            [
              { id: "va", name: "veth3f9a10c2", lines: ["10.88.21.1/32"], level: "a" },
              { id: "vb", name: "veth81d05b7e", lines: ["10.88.21.1/32"], level: "b" },
            ],
            [
              {
                id: "routes",
                name: "routes",
                lines: ["10.88.21.2 by veth3f9a...", "10.88.21.3 by veth81d0..."],
                kind: "table",
              },
            ],
            [uplink],
          ],
        },
      ],
      [outside()],
    ],
    wires: [
      { from: "a", to: "va" },
      { from: "b", to: "vb" },
      { from: "va", to: "routes" },
      { from: "vb", to: "routes" },
      { from: "routes", to: "up" },
      { from: "up", to: "wire" },
    ],
    notes: [
      "No bridge: every packet passes the host's routes and rules, also one from container to container.",
    ],
  },
  {
    name: "sbr",
    alt: "A container with two interfaces. What it sends from the address of net1 is led by a rule to a routing table of its own and leaves by net1; all else uses the main table and leaves by eth0.",
    columns: [
      [
        {
          title: "container",
          columns: [
            [
              { id: "rule", name: "from net1's address", lines: ["the rule that sbr makes"], kind: "table" },
              { id: "rest", name: "all else", kind: "table" },
            ],
            [
              { id: "own", name: "table 100", lines: ["default by net1"], kind: "table", level: "rule" },
              { id: "main", name: "table main", lines: ["default by eth0"], kind: "table", level: "rest" },
            ],
            [
              { id: "net1", name: "net1", level: "rule" },
              { id: "eth0", name: "eth0", level: "rest" },
            ],
          ],
        },
      ],
      [
        {
          title: "host",
          columns: [
            [
              { id: "second", name: "a second network", kind: "text", level: "rule" },
              { id: "first", name: "the first network", kind: "text", level: "rest" },
            ],
          ],
        },
      ],
    ],
    wires: [
      { from: "rule", to: "own", kind: "arrow" },
      { from: "rest", to: "main", kind: "arrow" },
      { from: "own", to: "net1", kind: "arrow" },
      { from: "main", to: "eth0", kind: "arrow" },
      { from: "net1", to: "second" },
      { from: "eth0", to: "first" },
    ],
    notes: ["So the answer to what came in by net1 goes out by net1."],
  },
  {
    name: "static",
    alt: "The plugin that makes the interface asks static for addresses; static has them from the configuration or from the runtime, and remembers nothing.",
    columns: [
      [container("a", ["the address that", "was asked for"])],
      [
        {
          title: "host",
          columns: [
            [{ id: "bridge", name: "bridge", lines: ["or any other plugin"], kind: "program" }],
            [{ id: "ipam", name: "static", kind: "program" }],
            [
              { id: "config", name: "configuration", lines: ["ipam.addresses"], kind: "table" },
              { id: "runtime", name: "runtime", lines: ["ips, CNI_ARGS"], kind: "table" },
            ],
          ],
        },
      ],
    ],
    wires: [
      { from: "a", to: "bridge", label: "makes", kind: "back" },
      { from: "bridge", to: "ipam", label: "asks", kind: "both" },
      { from: "ipam", to: "config", kind: "back" },
      { from: "ipam", to: "runtime", kind: "back" },
    ],
    notes: ["Nobody looks whether another container has the address already."],
  },
  {
    name: "tap",
    alt: "A tap link in the container, whose other end is a program there such as a virtual machine's; with the key bridge the tap is a port of a bridge in the container.",
    columns: [
      [
        {
          title: "container",
          columns: [
            [
              {
                id: "vm",
                name: "qemu",
                lines: ["or another program", "that carries frames"],
                kind: "program",
              },
            ],
            [{ id: "tap", name: "eth0", lines: ["the tap"] }],
            [{ id: "br", name: "br0", lines: ["with the", "key bridge"], kind: "bar" }],
          ],
        },
      ],
      [{ title: "host", columns: [[{ id: "veth", name: "another plugin's pair", kind: "text" }]] }],
    ],
    wires: [
      { from: "vm", to: "tap", label: "/dev/net/tun", kind: "both" },
      { from: "tap", to: "br" },
      { from: "br", to: "veth" },
    ],
    notes: ["The program opens the tap by its name; owner and group say who may."],
  },
  {
    name: "tuning",
    alt: "The plugin changes kernel parameters of the container's namespace and properties of its interface, and keeps on the host what the interface was before.",
    columns: [
      [
        {
          title: "container",
          columns: [
            [
              { id: "sysctl", name: "net.*", lines: ["tcp_keepalive_time = 120"], kind: "table" },
              { id: "eth0", name: "eth0", lines: ["mtu 1450", "txqueuelen 1000, allmulti"] },
            ],
          ],
        },
      ],
      [
        {
          title: "host",
          columns: [
            [{ id: "tuning", name: "tuning", kind: "program" }],
            [{ id: "backup", name: "/run/cni/tuning/", lines: ["CONTAINER_eth0.json"], kind: "table" }],
          ],
        },
      ],
    ],
    wires: [
      { from: "sysctl", to: "tuning", kind: "back" },
      { from: "eth0", to: "tuning", kind: "back" },
      { from: "tuning", to: "backup", label: "what it was", kind: "both" },
    ],
    notes: ["DEL restores the interface, which matters where it goes back to the host."],
  },
  {
    name: "vlan",
    alt: "A container with a VLAN interface of the host's eth0: on the wire outside its frames have the tag 105, and the host's own have none.",
    columns: [
      [container("a", ["10.105.0.10", "VLAN 105"])],
      [
        {
          title: "host",
          columns: [[{ id: "up", name: "eth0", lines: ["the master", "192.0.2.1, without a tag"] }]],
        },
      ],
      [
        {
          title: "outside",
          columns: [
            [
              {
                id: "trunk",
                name: "a trunk",
                lines: ["VLAN 105: 10.105.0.0/24", "untagged: 192.0.2.0/24"],
                kind: "text",
              },
            ],
          ],
        },
      ],
    ],
    wires: [
      { from: "a", to: "up", label: "tag 105" },
      { from: "up", to: "trunk" },
    ],
    notes: ["Each VLAN of a master is one container's."],
  },
  {
    name: "vrf",
    alt: "A container in which eth0 belongs to the VRF blue with a routing table of its own, and net1 to none; a program chooses by binding to blue.",
    columns: [
      [
        {
          title: "container",
          columns: [
            [
              { id: "bound", name: "bound to blue", kind: "program", level: "blue" },
              { id: "free", name: "not bound", kind: "program", level: "main" },
            ],
            [
              { id: "blue", name: "VRF blue", lines: ["a table of its own"], kind: "table" },
              { id: "main", name: "table main", kind: "table" },
            ],
            [
              { id: "eth0", name: "eth0", lines: ["10.10.0.2"], level: "blue" },
              { id: "net1", name: "net1", lines: ["10.10.0.2 again, or others"], level: "main" },
            ],
          ],
        },
      ],
      [
        {
          title: "host",
          columns: [
            [
              { id: "one", name: "vrf-bridge0", lines: ["10.10.0.1"], level: "blue" },
              { id: "two", name: "another network", kind: "text", level: "main" },
            ],
          ],
        },
      ],
    ],
    wires: [
      { from: "bound", to: "blue", kind: "arrow" },
      { from: "free", to: "main", kind: "arrow" },
      { from: "blue", to: "eth0" },
      { from: "main", to: "net1" },
      { from: "eth0", to: "one" },
      { from: "net1", to: "two" },
    ],
    notes: ["Two networks of one container may so have the same prefixes."],
  },
];
