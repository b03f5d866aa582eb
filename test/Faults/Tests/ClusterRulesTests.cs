using System.Globalization;
using System.Text.Json.Nodes;
using OrleansCluster.Faults.Checking;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Tests;

/// <summary>For every rule about pods, nodes and controllers a history that keeps it, and next to it one that breaks it in one place.</summary>
public sealed class ClusterRulesTests
{
    private const long Second = 1_000_000;

    /// <summary>One node with room for two pods, a controller of two with its service, and its pods as they come to run.</summary>
    private static ClusterScript Running() => new ClusterScript()
        .Node("n1", cpu: "1", pods: 5).Node("n2", cpu: "1", pods: 5).Controller("web", 2)
        .Pod("w1").Pod("w2").Pod("w1", node: "n1").Pod("w2", node: "n2").Pod("w1", node: "n1", ready: true).Pod("w2", node: "n2", ready: true)
        .Endpoints("web", "w1", "w2");

    [Fact]
    public void A_cluster_that_runs_what_is_declared_is_right() => Holds(Running());

    [Fact]
    public void A_node_that_is_full_to_the_brim_is_right() =>
        Holds(Running().Pod("x1", owner: null, node: "n1", ready: true, cpu: "600m"));

    [Fact]
    public void A_pod_that_takes_the_place_of_one_that_is_gone_or_finished_is_right() => Holds(
        Running().Pod("x1", owner: null, node: "n1", cpu: "600m").Gone("x1").Pod("x2", owner: null, node: "n1", cpu: "600m").Pod("x2", owner: null, node: "n1", cpu: "600m", phase: "Succeeded")
            .Pod("x3", owner: null, node: "n1", ready: true, cpu: "600m"));

    [Fact]
    public void A_node_with_more_cpu_requested_than_it_has() => Breaks(Rule.Overcommit, Running().Pod("x1", owner: null, node: "n1", ready: true, cpu: "601m"));

    [Fact]
    public void A_node_overcommitted_for_a_moment_only() =>
        Breaks(Rule.Overcommit, Running().Pod("x1", owner: null, node: "n1", cpu: "601m").Gone("x1"));

    [Fact]
    public void A_node_with_more_pods_than_it_takes() =>
        Breaks(Rule.Overcommit, Running().Node("n2", cpu: "1", pods: 1).Pod("x1", owner: null, node: "n2", ready: true, cpu: "1m"));

    [Fact]
    public void A_pod_of_the_same_name_on_another_node_is_right() =>
        Holds(Running().Pod("x", owner: null, node: "n1", ready: true).Gone("x").Pod("x", owner: null, node: "n2", ready: true, uid: "another"));

    [Fact]
    public void A_pod_bound_to_a_second_node() => Breaks(Rule.Rebound, Running().Pod("w1", node: "n2", ready: true).Endpoints("web", "w1", "w2"));

    [Fact]
    public void A_pod_that_loses_its_node() => Breaks(Rule.Rebound, Running().Pod("w1").Pod("w1", node: "n1", ready: true));

    [Fact]
    public void Fewer_pods_than_declared_at_the_end() => Breaks(Rule.Replicas, Running().Gone("w2").Endpoints("web", "w1"));

    [Fact]
    public void More_pods_than_declared_at_the_end() =>
        Breaks(Rule.Replicas, Running().Pod("w3", node: "n1", ready: true).Endpoints("web", "w1", "w2", "w3"));

    [Fact]
    public void A_controller_that_reports_other_pods_than_there_are() => Breaks(Rule.Replicas, Running().Controller("web", 2, readyReplicas: 1));

    [Fact]
    public void A_finished_pod_does_not_count() =>
        Holds(Running().Pod("w3", node: "n1", phase: "Failed"));

    [Fact]
    public void A_pod_that_fits_nowhere_may_wait() => Holds(Running().Pod("huge", owner: null, cpu: "2"));

    [Fact]
    public void A_pod_that_fits_and_is_not_bound() => Breaks(Rule.Pending, Running().Pod("small", owner: null, cpu: "100m"));

    [Fact]
    public void A_bound_pod_that_does_not_run() => Breaks(Rule.Pending, Running().Pod("x1", owner: null, node: "n1"));

    [Fact]
    public void A_pod_that_is_still_being_deleted() => Breaks(Rule.Stuck, Running().Pod("x1", owner: null, node: "n1", ready: true, deleting: true));

    [Fact]
    public void A_controller_that_is_still_being_deleted() => Breaks(Rule.Stuck, Running().Controller("web", 2, deleting: true));

    [Fact]
    public void A_pod_without_its_owner() => Breaks(Rule.Orphan, Running().Pod("x1", owner: "gone", node: "n1", ready: true));

    [Fact]
    public void A_pod_on_a_node_that_is_not_there() => Breaks(Rule.Orphan, Running().Pod("x1", owner: null, node: "n9", ready: true));

    [Fact]
    public void Endpoints_without_a_ready_pod() => Breaks(Rule.Endpoints, Running().Endpoints("web", "w1"));

    [Fact]
    public void Endpoints_with_a_pod_that_is_gone() => Breaks(Rule.Endpoints, Running().Endpoints("web", "w1", "w2", "w7"));

    [Fact]
    public void Endpoints_with_a_pod_that_is_not_ready() =>
        Breaks(Rule.Endpoints, Running().Pod("w2", node: "n2").Controller("web", 2, readyReplicas: 1));

    [Fact]
    public void A_decision_made_twice_and_undone_is_right() =>
        Holds(Running().Pod("w3").Pod("w4").Wait(5 * Second).Pod("w3", deleting: true).Pod("w4", deleting: true).Gone("w3").Gone("w4"));

    [Fact]
    public void Fewer_declared_than_there_are_is_right_until_they_are_gone() =>
        Holds(Running().Controller("web", 1, readyReplicas: 1).Wait(20 * Second).Pod("w2", node: "n2", deleting: true).Gone("w2").Endpoints("web", "w1"));

    [Fact]
    public void More_pods_than_declared_for_longer_than_a_decision_takes() =>
        Breaks(Rule.Surplus, Running().Pod("w3").Wait(40 * Second).Pod("w3", deleting: true).Gone("w3"));

    [Fact]
    public void More_pods_than_a_decision_made_twice_explains() => Breaks(
        Rule.Surplus, Running().Pod("w3").Pod("w4").Pod("w5").Gone("w3").Gone("w4").Gone("w5"));

    private static void Holds(ClusterScript script)
    {
        var verdict = script.Judge();
        Assert.True(verdict.Violations.Count == 0, verdict.ToString());
    }

    private static void Breaks(Rule rule, ClusterScript script)
    {
        var verdict = script.Judge();
        Assert.True(verdict.Violations.Exists(v => v.Rule == rule), $"{rule} was not found broken: {verdict}");
        // Nothing but what follows from that one thing: too few or too many pods are not ready pods either.
        Assert.All(verdict.Violations, v => Assert.True(v.Rule == rule || v.Rule is Rule.Replicas or Rule.Pending or Rule.Endpoints, verdict.ToString()));
    }

    /// <summary>Writes the history of a cluster by hand: each call is one change, seen by a follower a millisecond after the one before. The end is what is there then.</summary>
    private sealed class ClusterScript
    {
        private const string Ns = "faults-a";
        private readonly History _history = new();
        private readonly Dictionary<string, WatchStream> _streams = new(StringComparer.Ordinal);
        private readonly SortedDictionary<string, ObjectVersion> _now = new(StringComparer.Ordinal);
        private long _at = Second;
        private long _revision;

        public ClusterScript Wait(long time)
        {
            _at += time;
            return this;
        }

        public ClusterScript Node(string name, string cpu, int pods) => Put("nodes", name, new JsonObject
        {
            ["metadata"] = new JsonObject { ["name"] = name, ["uid"] = name },
            ["status"] = new JsonObject { ["allocatable"] = new JsonObject { ["cpu"] = cpu, ["pods"] = $"{pods}" } },
        });

        public ClusterScript Controller(string name, int replicas, int? readyReplicas = null, bool deleting = false) => Put("replicationcontrollers", $"{Ns}/{name}", new JsonObject
        {
            ["metadata"] = Metadata(name, name, deleting),
            ["spec"] = new JsonObject { ["replicas"] = replicas },
            ["status"] = new JsonObject { ["readyReplicas"] = readyReplicas ?? replicas },
        });

        public ClusterScript Pod(
            string name, string? owner = "web", string node = "", bool ready = false, string cpu = "400m", string phase = "Running", bool deleting = false, string? uid = null)
        {
            var metadata = Metadata(name, uid ?? name, deleting);
            if (owner is not null)
            {
                metadata["ownerReferences"] = new JsonArray(new JsonObject { ["uid"] = owner });
                metadata["labels"] = new JsonObject { ["app"] = owner };
            }
            return Put("pods", $"{Ns}/{name}", new JsonObject
            {
                ["metadata"] = metadata,
                ["spec"] = new JsonObject
                {
                    ["nodeName"] = node,
                    ["containers"] = new JsonArray(new JsonObject { ["resources"] = new JsonObject { ["requests"] = new JsonObject { ["cpu"] = cpu } } }),
                },
                ["status"] = new JsonObject
                {
                    ["phase"] = phase,
                    ["podIP"] = name,
                    ["conditions"] = new JsonArray(new JsonObject { ["type"] = "Ready", ["status"] = ready ? "True" : "False" }),
                },
            });
        }

        public ClusterScript Endpoints(string name, params string[] pods) => Put("endpoints", $"{Ns}/{name}", new JsonObject
        {
            ["metadata"] = Metadata(name, name, deleting: false),
            ["subsets"] = new JsonArray(new JsonObject { ["addresses"] = new JsonArray([.. pods.Select(p => (JsonNode)new JsonObject { ["ip"] = p })]) }),
        });

        public ClusterScript Gone(string pod)
        {
            var was = _now[$"pods {Ns}/{pod}"];
            _now.Remove($"pods {Ns}/{pod}");
            See("pods", WatchEventType.Deleted, was with { Revision = ++_revision, Digest = $"{_revision}" });
            return this;
        }

        public Verdict Judge()
        {
            foreach (var resource in _streams.Keys)
            {
                _history.Final.Enqueue(List(resource, _revision, [.. _now.Where(p => p.Key.StartsWith(resource + " ", StringComparison.Ordinal)).Select(p => p.Value)]));
            }
            var verdict = new Verdict();
            ClusterRules.Check(_history, verdict);
            return verdict;
        }

        private static JsonObject Metadata(string name, string uid, bool deleting)
        {
            var metadata = new JsonObject { ["name"] = name, ["namespace"] = Ns, ["uid"] = uid };
            if (deleting)
                metadata["deletionTimestamp"] = "2020-01-01T00:00:00Z";
            return metadata;
        }

        private ClusterScript Put(string resource, string key, JsonObject obj)
        {
            var isNew = !_now.ContainsKey($"{resource} {key}");
            obj["metadata"]!["resourceVersion"] = (++_revision).ToString(CultureInfo.InvariantCulture);
            var version = new ObjectVersion(key, _revision, (string)obj["metadata"]!["uid"]!, Fields.Empty, $"{_revision}", obj.ToJsonString());
            _now[$"{resource} {key}"] = version;
            See(resource, isNew ? WatchEventType.Added : WatchEventType.Modified, version);
            return this;
        }

        private void See(string resource, WatchEventType type, ObjectVersion version)
        {
            if (!_streams.TryGetValue(resource, out var stream))
            {
                var observer = new Observer { Client = _streams.Count, Resource = resource };
                _streams[resource] = stream = new WatchStream { Endpoint = "a", From = 0 };
                observer.Steps.Add(new ObserverStep(List(resource, 0, []), null));
                observer.Steps.Add(new ObserverStep(null, stream));
                _history.Observers.Enqueue(observer);
            }
            stream.Events.Add(new WatchEvent(_at += 1000, type, version.Revision, version));
        }

        private Operation List(string resource, long revision, IReadOnlyList<ObjectVersion> items) => new()
        {
            Id = _history.NextId(),
            Client = 0,
            Verb = Verb.List,
            Resource = resource,
            Key = "",
            Invoked = _at,
            Completed = _at,
            Outcome = Outcome.Ok,
            ListRevision = revision,
            Items = items,
        };
    }
}
