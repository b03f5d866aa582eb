using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using OrleansCluster.Abstractions.Tests.Support;
using OrleansCluster.Api;

namespace OrleansCluster.Abstractions.Tests.Objects;

public sealed class EventRecorderTests
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);

    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2024, 5, 6, 7, 8, 9, TimeSpan.Zero));

    private static JsonObject Pod(string name) => new()
    {
        ["kind"] = "Pod",
        ["apiVersion"] = "v1",
        ["metadata"] = new JsonObject { ["namespace"] = "web", ["name"] = name, ["uid"] = "uid-" + name, ["resourceVersion"] = "12" },
    };

    private EventRecorder Start(ScriptedGrains grains, ILogger? logger = null) => EventRecorder.Start(
        new ObjectWriter(grains.Factory, _time, UserInfo.ControlPlane, new Random(1)), Registry, _time, logger ?? NullLogger.Instance, "kubelet", "node-1");

    [Fact]
    public async Task Record_WritesAnEventAboutTheObject()
    {
        var grains = new ScriptedGrains(ScriptedGrains.Stored);
        await using var recorder = Start(grains);

        recorder.Record(Pod("a"), "Warning", "BackOff", "Back-off restarting", "spec.containers{web}");
        await Drive.UntilAsync(() => grains.Calls.Count == 1);

        var written = grains.Calls.Single();
        Assert.Matches("^events/web/a\\.[0-9a-f]{16}$", written.Key);
        var body = written.Body;
        Assert.Equal(
            """{"kind":"Pod","apiVersion":"v1","name":"a","uid":"uid-a","namespace":"web","resourceVersion":"12","fieldPath":"spec.containers{web}"}""",
            body["involvedObject"]!.ToJsonString());
        Assert.Equal("""{"component":"kubelet","host":"node-1"}""", body["source"]!.ToJsonString());
        Assert.Equal(
            ("Warning", "BackOff", "Back-off restarting", 1, "2024-05-06T07:08:09Z"),
            ((string)body["type"]!, (string)body["reason"]!, (string)body["message"]!, (int)body["count"]!, (string)body["firstTimestamp"]!));
    }

    [Fact]
    public async Task Record_ARepeat_RaisesTheCountOfTheOneEvent()
    {
        var grains = new ScriptedGrains(ScriptedGrains.Stored);
        await using var recorder = Start(grains);

        recorder.Record(Pod("a"), "Normal", "Pulled", "Image there");
        await Drive.UntilAsync(() => grains.Calls.Count == 1);
        _time.Advance(TimeSpan.FromSeconds(5));
        recorder.Record(Pod("a"), "Normal", "Pulled", "Image there");
        recorder.Record(Pod("a"), "Normal", "Pulled", "Another image there");
        await Drive.UntilAsync(() => grains.Calls.Count == 3);

        var calls = grains.Calls;
        Assert.Equal(calls[0].Key, calls[1].Key);
        Assert.Equal(ObjectVerb.Patch, calls[1].Request.Verb);
        Assert.Equal("""{"count":2,"lastTimestamp":"2024-05-06T07:08:14Z"}""", calls[1].Body.ToJsonString());
        Assert.Equal(ObjectVerb.Create, calls[2].Request.Verb);
        Assert.NotEqual(calls[0].Key, calls[2].Key);
    }

    [Fact]
    public async Task Record_TheEventHasExpired_StartsAnew()
    {
        var grains = new ScriptedGrains(call => call.Request.Verb == ObjectVerb.Patch
            ? ScriptedGrains.Refused(StatusError.NotFound("events", "", "a"))
            : ScriptedGrains.Stored(call));
        await using var recorder = Start(grains);

        recorder.Record(Pod("a"), "Normal", "Pulled", "Image there");
        recorder.Record(Pod("a"), "Normal", "Pulled", "Image there");
        await Drive.UntilAsync(() => grains.Calls.Count == 3);

        Assert.Equal(ObjectVerb.Create, grains.Calls[2].Request.Verb);
        Assert.Equal(1, (int)grains.Calls[2].Body["count"]!);
    }

    [Fact]
    public async Task Record_AnObjectThatNeverStops_PassesABurstAndThenOneEveryFiveMinutes()
    {
        var grains = new ScriptedGrains(ScriptedGrains.Stored);
        await using var recorder = Start(grains);

        for (var i = 0; i < 40; i++)
            recorder.Record(Pod("loud"), "Warning", "Failed", $"try {i}");
        recorder.Record(Pod("quiet"), "Normal", "Created", "once");
        await Drive.UntilAsync(() => grains.Calls.Any(c => c.Key.Contains("quiet", StringComparison.Ordinal)));
        Assert.Equal(25, grains.Calls.Count(c => c.Key.Contains("loud", StringComparison.Ordinal)));

        _time.Advance(TimeSpan.FromMinutes(5));
        recorder.Record(Pod("loud"), "Warning", "Failed", "later");
        recorder.Record(Pod("loud"), "Warning", "Failed", "too much again");
        recorder.Record(Pod("last"), "Normal", "Created", "once");
        await Drive.UntilAsync(() => grains.Calls.Any(c => c.Key.Contains("last", StringComparison.Ordinal)));
        Assert.Equal(26, grains.Calls.Count(c => c.Key.Contains("loud", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Record_TheStoreIsStuck_DropsWhatDoesNotFitAndSaysHowMany()
    {
        using var stuck = new ManualResetEventSlim();
        var cancellation = TestContext.Current.CancellationToken;
        var grains = new ScriptedGrains(call =>
        {
            stuck.Wait(cancellation);
            return ScriptedGrains.Stored(call);
        });
        var log = new ListLogger();
        await using var recorder = Start(grains, log);

        recorder.Record(Pod("first"), "Normal", "Created", "once");
        await Drive.UntilAsync(() => grains.Calls.Count == 1);
        for (var i = 0; i < EventRecorder.BufferSize + 17; i++)
            recorder.Record(Pod($"p{i}"), "Normal", "Created", "once");
        stuck.Set();

        await Drive.UntilAsync(() => grains.Calls.Count == 1 + EventRecorder.BufferSize);
        Assert.Contains(log.Lines, l => l.StartsWith("17 events were dropped", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Record_AWriteIsRefused_TheNextIsStillWritten()
    {
        var grains = new ScriptedGrains(call => call.Number == 1
            ? ScriptedGrains.Refused(StatusError.Forbidden("events", "", "a", "the namespace is being terminated"))
            : ScriptedGrains.Stored(call));
        var log = new ListLogger();
        await using var recorder = Start(grains, log);

        recorder.Record(Pod("a"), "Normal", "Created", "once");
        recorder.Record(Pod("b"), "Normal", "Created", "once");
        await Drive.UntilAsync(() => grains.Calls.Count == 2);

        Assert.Contains(log.Lines, l => l.Contains("was not recorded", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Names_OfOneInstantAndOfLongObjects_AreDistinctAndValid()
    {
        var grains = new ScriptedGrains(ScriptedGrains.Stored);
        await using var recorder = Start(grains);

        recorder.Record(Pod(new string('a', 253)), "Normal", "One", "1");
        recorder.Record(Pod(new string('a', 253)), "Normal", "Two", "2");
        await Drive.UntilAsync(() => grains.Calls.Count == 2);

        var names = grains.Calls.Select(c => (string)c.Body["metadata"]!["name"]!).ToList();
        Assert.NotEqual(names[0], names[1]);
        Assert.All(names, n => Assert.InRange(n.Length, 1, 253));
    }

    private sealed class ListLogger : ILogger
    {
        private readonly ConcurrentQueue<string> _lines = new();

        public IEnumerable<string> Lines => _lines;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            _lines.Enqueue(formatter(state, exception));
    }
}
