using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Counts and times requests under kube-apiserver's names. Everything of one kind of request (verb, resource, subresource, scope, code) is one series whose
/// labels are made once, so that a request allocates nothing here. Unknown resources, subresources and methods are counted under one name: clients
/// cannot make this grow.
/// </summary>
internal sealed class RequestMetrics
{
    private static readonly Dictionary<string, string> Methods = new(StringComparer.Ordinal)
    {
        [Verbs.Get] = "GET",
        [Verbs.List] = "LIST",
        [Verbs.Watch] = "WATCH",
        [Verbs.Create] = "POST",
        [Verbs.Update] = "PUT",
        [Verbs.Patch] = "PATCH",
        [Verbs.Delete] = "DELETE",
        [Verbs.DeleteCollection] = "DELETECOLLECTION",
        ["post"] = "POST",
        ["put"] = "PUT",
        ["head"] = "HEAD",
        ["options"] = "OPTIONS",
        ["connect"] = "CONNECT",
    };

    private readonly ConcurrentDictionary<SeriesKey, Series> _series = new();
    private readonly ConcurrentDictionary<ResourceDefinition, Lasting> _lasting = new(ReferenceEqualityComparer.Instance);
    private long _reading;
    private long _writing;

    public RequestMetrics(IMeterFactory meters)
    {
        var meter = meters.Create(ApiTelemetry.Name);
        meter.CreateObservableCounter(
            "apiserver_request_total", () => _series.Values.Select(static s => new Measurement<long>(s.Count, s.Labels)), null,
            "Answered requests by verb, group, version, resource, subresource, scope and code.");
        meter.CreateObservableGauge(
            "apiserver_current_inflight_requests",
            () => (Measurement<long>[])
            [
                new(Volatile.Read(ref _reading), new KeyValuePair<string, object?>("request_kind", "readOnly")),
                new(Volatile.Read(ref _writing), new KeyValuePair<string, object?>("request_kind", "mutating")),
            ],
            null, "Requests being answered now, without those that last.");
        meter.CreateObservableGauge(
            "apiserver_longrunning_requests", () => _lasting.Values.SelectMany(static l => l.Requests()), null, "Watches and streams that are open.");
        meter.CreateObservableGauge(
            "apiserver_registered_watchers",
            () => _lasting.Select(static l => new Measurement<long>(
                Volatile.Read(ref l.Value.Watches),
                new("group", l.Key.Group), new("version", l.Key.Version), new("kind", l.Key.Kind))),
            null, "Watches that are open, by kind.");
    }

    /// <summary>A request that is answered soon begins; to be paired with <see cref="End"/>.</summary>
    public void Begin(RequestInfo info) => Interlocked.Increment(ref InFlight(info));

    /// <summary>It has been answered.</summary>
    public void End(RequestInfo info) => Interlocked.Decrement(ref InFlight(info));

    /// <summary>A watch or a stream begins (1) or ends (-1).</summary>
    public void Lasts(RequestInfo info, int change)
    {
        if (info.Definition is not { } definition)
            return;
        var lasting = _lasting.GetOrAdd(definition, static d => new Lasting(d));
        if (info.Verb == Verbs.Watch)
            Interlocked.Add(ref lasting.Watches, change);
        else
            Interlocked.Add(ref lasting.Streams, change);
    }

    /// <summary>Counts one answered request.</summary>
    /// <param name="info">What it asked for; null if it could not be read.</param>
    /// <param name="code">Status code of the answer.</param>
    /// <param name="elapsed">From its first header to the end of the answer.</param>
    public void Count(RequestInfo? info, int code, TimeSpan elapsed)
    {
        var key = KeyOf(info, code);
        if (!_series.TryGetValue(key, out var series))
            series = _series.GetOrAdd(key, static k => new Series(k));
        series.Note(elapsed);
    }

    private ref long InFlight(RequestInfo info)
    {
        if (info.Verb is Verbs.Get or Verbs.List or "head")
            return ref _reading;
        return ref _writing;
    }

    private static SeriesKey KeyOf(RequestInfo? info, int code)
    {
        if (info is null)
            return new SeriesKey(null, "", "", "", code);
        if (info.Definition is { } definition)
        {
            var scope = info.Name.Length > 0 || info.Verb == Verbs.Create ? "resource" : info.Namespace.Length > 0 ? "namespace" : "cluster";
            return new SeriesKey(definition, info.Verb, KnownSubresource(definition, info.Subresource), scope, code);
        }
        return new SeriesKey(null, Methods.ContainsKey(info.Verb) ? info.Verb : "", "", "", code);
    }

    private static string KnownSubresource(ResourceDefinition definition, string name)
    {
        if (name.Length == 0)
            return "";
        foreach (var subresource in definition.Subresources)
        {
            if (subresource.Name == name)
                return name;
        }
        return "";
    }

    /// <summary>Definitions are compared by identity: they are records of many members, and each kind has one instance.</summary>
    private readonly record struct SeriesKey(ResourceDefinition? Definition, string Verb, string Subresource, string Scope, int Code)
    {
        public bool Equals(SeriesKey other) =>
            ReferenceEquals(Definition, other.Definition) && Code == other.Code && Verb == other.Verb && Subresource == other.Subresource && Scope == other.Scope;

        public override int GetHashCode() => HashCode.Combine(RuntimeHelpers.GetHashCode(Definition), Code, Verb.Length, Subresource.Length, Scope.Length);
    }

    private sealed class Series(SeriesKey key)
    {
        private readonly KeyValuePair<string, object?>[] _durationLabels = Common(key);
        private long _count;

        public KeyValuePair<string, object?>[] Labels { get; } = [.. Common(key), new("code", key.Code.ToString(System.Globalization.CultureInfo.InvariantCulture))];

        public long Count => Volatile.Read(ref _count);

        public void Note(TimeSpan elapsed)
        {
            Interlocked.Increment(ref _count);
            ApiTelemetry.RequestDuration.Record(elapsed.TotalSeconds, _durationLabels);
        }

        private static KeyValuePair<string, object?>[] Common(SeriesKey key) =>
        [
            new("verb", Methods.GetValueOrDefault(key.Verb, "OTHER")),
            new("group", key.Definition?.Group ?? ""),
            new("version", key.Definition?.Version ?? ""),
            new("resource", key.Definition?.Plural ?? ""),
            new("subresource", key.Subresource),
            new("scope", key.Scope),
            new("component", "apiserver"),
        ];
    }

    private sealed class Lasting(ResourceDefinition definition)
    {
        public long Watches;
        public long Streams;

        public IEnumerable<Measurement<long>> Requests() =>
        [
            new(Volatile.Read(ref Watches), Labels("WATCH")),
            new(Volatile.Read(ref Streams), Labels("CONNECT")),
        ];

        private KeyValuePair<string, object?>[] Labels(string verb) =>
        [
            new("verb", verb), new("group", definition.Group), new("version", definition.Version), new("resource", definition.Plural), new("component", "apiserver"),
        ];
    }
}
