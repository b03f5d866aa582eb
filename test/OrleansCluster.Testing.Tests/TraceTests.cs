using System.Diagnostics;
using k8s;
using k8s.Models;
using OpenTelemetry.Trace;
using OrleansCluster.Hosting;
using OrleansCluster.Testing.Tests.Support;

namespace OrleansCluster.Testing.Tests;

/// <summary>One request's trace over all hops, and what begins none.</summary>
public sealed class TraceTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ACreatedPod_IsOneTrace_FromTheRequestToItsContainers()
    {
        var spans = new Spans();
        await using var cluster = await TestCluster.StartAsync(
            new TestClusterOptions
            {
                ConfigureSilo = static silo => silo.AddActivityPropagation(),
                ConfigureServices = services => services.AddTraceSources("test", traces => traces.AddInMemoryExporter(spans)),
            },
            Cancellation);
        await cluster.Kubernetes.CreateNamespacedPodAsync(Manifests.Pod("traced"), "default", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1Pod>(pods => pods is [{ Status.Phase: "Running" }], "the pod runs", "default", cancellationToken: Cancellation);
        await cluster.WaitForAsync(_ => Task.FromResult(Starts(spans).Length > 0), "the pod's start is told", cancellationToken: Cancellation);

        // Sources are the process's: clusters of other tests tell theirs here, too.
        var start = Assert.Single(Starts(spans));
        Activity[] trace = [.. spans.Where(s => s.TraceId == start.TraceId)];
        var request = Assert.Single(trace, s => s.DisplayName == "create pods");
        Assert.Equal(ActivityKind.Server, request.Kind);
        Assert.All(
            (string[])["store commit", "schedule pod", "filter and score", "push pod", "start pod", "create_podsandbox", "run_podsandbox", "create_container", "start_container"],
            name => Assert.Contains(trace, s => s.DisplayName == name));
        // Grain calls tie them together: the object's, the decision's, the node's.
        Assert.All((string[])["IObjectGrain", "ISchedulingDecisionGrain", "INodeGrain"], grain => Assert.Contains(trace, s => s.DisplayName.Contains(grain, StringComparison.Ordinal)));
        // Every span but the first hangs on another one of the trace.
        var ids = trace.Select(s => s.SpanId).ToHashSet();
        Assert.All(trace.Where(s => s != request), s => Assert.Contains(s.ParentSpanId, ids));
        Assert.Equal("node-1", start.GetTagItem("k8s.node.name"));
    }

    [Fact]
    public async Task ProbesWatchesAndLoops_BeginNoTrace()
    {
        var spans = new Spans();
        await using var cluster = await TestCluster.StartAsync(
            new TestClusterOptions
            {
                ConfigureSilo = static silo => silo.AddActivityPropagation(),
                ConfigureServices = services => services.AddTraceSources("test", traces => traces.AddInMemoryExporter(spans)),
            },
            Cancellation);
        await cluster.Http.GetAsync(new Uri("/metrics", UriKind.Relative), Cancellation);
        await cluster.Http.GetAsync(new Uri("/api/v1/secrets?watch=true&timeoutSeconds=1", UriKind.Relative), Cancellation);
        await cluster.Http.GetAsync(new Uri("/api/v1/namespaces/default/limitranges/last", UriKind.Relative), Cancellation);
        await cluster.WaitForAsync(_ => Task.FromResult(Of(spans, "get limitranges").Length > 0), "the request is told", cancellationToken: Cancellation);
        Assert.All(spans.Where(s => s.ParentSpanId == default), s => Assert.Equal(ActivityKind.Server, s.Kind));
        Assert.DoesNotContain(spans, s => s.DisplayName.Contains("watch", StringComparison.Ordinal) || s.DisplayName.Contains("metrics", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(null, null, "ParentBased{AlwaysOnSampler}")]
    [InlineData("always_off", null, "AlwaysOffSampler")]
    [InlineData("traceidratio", "0.25", "TraceIdRatioBasedSampler{0.250000}")]
    [InlineData("parentbased_traceidratio", "0.5", "ParentBased{TraceIdRatioBasedSampler{0.500000}}")]
    [InlineData("traceidratio", "many", "TraceIdRatioBasedSampler{1.000000}")]
    public void TheSampler_IsTheOneThatTheStandardVariablesName(string? name, string? argument, string expected) =>
        Assert.Equal(expected, Traces.SamplerOf(variable => variable == "OTEL_TRACES_SAMPLER" ? name : argument).Description);

    private static Activity[] Starts(Spans spans) => [.. Of(spans, "start pod").Where(s => (string?)s.GetTagItem("k8s.object.name") == "traced")];

    private static Activity[] Of(Spans spans, string name) => [.. spans.Where(s => s.DisplayName == name)];

    /// <summary>What the exporter adds to from its own thread while the test looks: every look sees a copy.</summary>
    private sealed class Spans : ICollection<Activity>
    {
        private readonly Lock _gate = new();
        private readonly List<Activity> _spans = [];

        public int Count => Copy().Length;

        public bool IsReadOnly => false;

        public void Add(Activity item)
        {
            lock (_gate)
                _spans.Add(item);
        }

        public void Clear()
        {
            lock (_gate)
                _spans.Clear();
        }

        public bool Contains(Activity item) => Copy().Contains(item);

        public void CopyTo(Activity[] array, int arrayIndex) => Copy().CopyTo(array, arrayIndex);

        public bool Remove(Activity item)
        {
            lock (_gate)
                return _spans.Remove(item);
        }

        public IEnumerator<Activity> GetEnumerator() => ((IEnumerable<Activity>)Copy()).GetEnumerator();

        System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => GetEnumerator();

        private Activity[] Copy()
        {
            lock (_gate)
                return [.. _spans];
        }
    }
}
