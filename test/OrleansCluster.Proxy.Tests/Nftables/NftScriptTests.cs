using System.Collections.Immutable;
using System.Net;
using OrleansCluster.Proxy.Nftables;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.Tests.Nftables;

public sealed class NftScriptTests
{
    private static readonly NftScript Script = new("t");

    [Fact]
    public void Incremental_from_nothing_to_one_service_with_node_port()
    {
        var text = Script.Incremental(State(), State(Rule("web", 1, endpoints: 3) with { NodePort = 30080 }));

        Assert.Equal("""
            add chain ip t ext-95253a1d69eb/default/web/tcp/http
            add chain ip t svc-95253a1d69eb/default/web/tcp/http
            add rule ip t ext-95253a1d69eb/default/web/tcp/http meta mark set meta mark | 0x4000
            add rule ip t ext-95253a1d69eb/default/web/tcp/http goto svc-95253a1d69eb/default/web/tcp/http
            add rule ip t svc-95253a1d69eb/default/web/tcp/http meta l4proto tcp dnat ip addr . port to numgen inc mod 3 map { 0 : 10.244.1.1 . 8080, 1 : 10.244.1.2 . 8080, 2 : 10.244.1.3 . 8080 }
            add element ip t cluster_ips { 10.96.0.1 }
            add element ip t hairpin { 10.244.1.1 . 10.244.1.1, 10.244.1.2 . 10.244.1.2, 10.244.1.3 . 10.244.1.3 }
            add element ip t nodeports { tcp . 30080 : goto ext-95253a1d69eb/default/web/tcp/http }
            add element ip t services { 10.96.0.1 . tcp . 80 : goto svc-95253a1d69eb/default/web/tcp/http }

            """, text);
    }

    [Fact]
    public void Incremental_one_endpoint_less_rewrites_one_rule()
    {
        var others = Rule("other", 2, endpoints: 2);

        var text = Script.Incremental(State(Rule("web", 1, endpoints: 3), others), State(Rule("web", 1, endpoints: 2), others));

        Assert.Equal("""
            delete element ip t hairpin { 10.244.1.3 . 10.244.1.3 }
            flush chain ip t svc-95253a1d69eb/default/web/tcp/http
            add rule ip t svc-95253a1d69eb/default/web/tcp/http meta l4proto tcp dnat ip addr . port to numgen inc mod 2 map { 0 : 10.244.1.1 . 8080, 1 : 10.244.1.2 . 8080 }

            """, text);
    }

    [Fact]
    public void Incremental_last_endpoint_gone_redirects_the_element_and_deletes_the_chain()
    {
        var text = Script.Incremental(State(Rule("web", 1, endpoints: 1)), State(Rule("web", 1, endpoints: 0)));

        Assert.Equal("""
            delete element ip t hairpin { 10.244.1.1 . 10.244.1.1 }
            delete element ip t services { 10.96.0.1 . tcp . 80 }
            add element ip t services { 10.96.0.1 . tcp . 80 : goto no_endpoints }
            flush chain ip t svc-95253a1d69eb/default/web/tcp/http
            delete chain ip t svc-95253a1d69eb/default/web/tcp/http

            """, text);
    }

    [Fact]
    public void Incremental_new_node_port_leaves_the_balancing_rule_alone()
    {
        var text = Script.Incremental(State(Rule("web", 1, endpoints: 2)), State(Rule("web", 1, endpoints: 2) with { NodePort = 30080 }));

        Assert.DoesNotContain("numgen", text, StringComparison.Ordinal);
        Assert.DoesNotContain("flush", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Incremental_with_affinity_keeps_the_sets_of_surviving_endpoints()
    {
        var affinity = TimeSpan.FromSeconds(60);

        var text = Script.Incremental(
            State(Rule("web", 1, endpoints: 2) with { Affinity = affinity }), State(Rule("web", 1, endpoints: 3) with { Affinity = affinity }));

        var set = Assert.Single(text.Split('\n'), static l => l.Contains(" set ip ", StringComparison.Ordinal));
        Assert.Equal("{ type ipv4_addr; size 65535; flags dynamic,timeout; timeout 60s; }", set[set.IndexOf('{', StringComparison.Ordinal)..]);
        Assert.Single(text.Split('\n'), static l => l.Contains("update @aff", StringComparison.Ordinal));
        Assert.Single(text.Split('\n'), static l => l.StartsWith("flush chain", StringComparison.Ordinal));
        Assert.Contains("numgen inc mod 3 vmap", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Incremental_between_equal_states_is_empty()
    {
        Assert.Empty(Script.Incremental(State(Rule("web", 1, endpoints: 2)), State(Rule("web", 1, endpoints: 2))));
    }

    [Fact]
    public void Full_replaces_its_own_table_only()
    {
        var text = Script.Full(State(Rule("web", 1, endpoints: 2)));

        Assert.StartsWith("add table ip t\ndelete table ip t\nadd table ip t\n", text, StringComparison.Ordinal);
        Assert.All(text.Split('\n', StringSplitOptions.RemoveEmptyEntries), static l => Assert.Contains(" ip t", l, StringComparison.Ordinal));
        Assert.DoesNotContain("flush ruleset", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Join_two_services_with_one_node_port_gives_it_to_the_first()
    {
        var text = Script.Incremental(State(), State(
            Rule("a", 1, endpoints: 0) with { NodePort = 30080 }, Rule("b", 2, endpoints: 1) with { NodePort = 30080 }));

        Assert.Contains("nodeports { tcp . 30080 : goto no_endpoints }", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Compile_names_cannot_become_syntax_and_stay_short()
    {
        var rule = Rule("x", 1, endpoints: 1) with { Key = new("ns; flush ruleset\n", new string('n', 63), new string('p', 300), ServiceProtocol.Udp) };

        var name = Assert.Single(NftState.Compile(rule).Chains).Key;

        Assert.Matches("^[a-z0-9/._-]{1,127}$", name);
    }

    [Fact]
    public void Compile_other_family_is_left_out()
    {
        var rule = Rule("web", 1, endpoints: 1) with { ClusterIPs = [IPAddress.Parse("fd00::1")], Endpoints = [IPEndPoint.Parse("[fd00::2]:80")] };

        Assert.Empty(NftState.Compile(rule).Chains);
        Assert.Empty(NftState.Compile(rule).Elements);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Increments_over_random_changes_lead_to_the_same_table_as_a_full_build(int seed)
    {
        var random = new Random(seed);
        var current = new SortedDictionary<string, ServiceRule>(StringComparer.Ordinal);
        var kernel = new NftModel();
        var state = State();
        kernel.Apply(Script.Full(state));
        for (var step = 0; step < 60; step++)
        {
            for (var change = random.Next(1, 5); change > 0; change--)
            {
                var name = $"s{random.Next(8)}";
                if (random.Next(4) == 0)
                    current.Remove(name);
                else
                    current[name] = RandomRule(random, name);
            }

            var next = State([.. current.Values]);
            kernel.Apply(Script.Incremental(state, next));
            state = next;

            var rebuilt = new NftModel();
            rebuilt.Apply(Script.Full(next));
            Assert.Equal(rebuilt.ToString(), kernel.ToString());
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Increments_never_touch_rules_of_untouched_services(int seed)
    {
        var random = new Random(seed);
        var untouched = Enumerable.Range(0, 5).Select(i => RandomRule(random, $"u{i}") with { NodePort = 0 }).ToArray();
        var state = State([RandomRule(random, "x"), .. untouched]);
        for (var step = 0; step < 30; step++)
        {
            var next = State([RandomRule(random, "x") with { NodePort = 0 }, .. untouched]);

            var text = Script.Incremental(state, next);

            // An element may change hands when both claim its address; chains, and with them positions, are never touched.
            Assert.DoesNotMatch("(?m)^[a-z]+ (chain|rule) ip t [a-z]+-[0-9a-f]+/default/u", text);
            state = next;
        }
    }

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 20)];

    private static NftState State(params ServiceRule[] rules) => NftState.Join(rules.Select(NftState.Compile));

    private static ServiceRule Rule(string name, int number, int endpoints)
    {
        ImmutableArray<IPEndPoint> targets = [.. Enumerable.Range(1, endpoints).Select(i => IPEndPoint.Parse($"10.244.{number}.{i}:8080"))];
        return new ServiceRule
        {
            Key = new("default", name, "http", ServiceProtocol.Tcp),
            ClusterIPs = [IPAddress.Parse($"10.96.0.{number}")],
            Port = 80,
            Endpoints = targets,
            ExternalEndpoints = targets,
        };
    }

    // Few services, ports and addresses, so that they collide often.
    private static ServiceRule RandomRule(Random random, string name)
    {
        var number = name[^1] - '0' + (name[0] == 'u' ? 10 : 100);
        var rule = Rule(name, number, random.Next(5));
        return rule with
        {
            NodePort = random.Next(2) * (30_000 + random.Next(3)),
            ExternalIPs = random.Next(3) == 0 ? [IPAddress.Parse($"192.0.2.{random.Next(2)}")] : [],
            Affinity = random.Next(3) == 0 ? TimeSpan.FromSeconds(random.Next(1, 3)) : null,
            ExternalTrafficLocal = random.Next(2) == 0,
            ExternalEndpoints = random.Next(2) == 0 ? rule.Endpoints : [.. rule.Endpoints.Where(_ => random.Next(2) == 0)],
        };
    }
}
