using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Docker.DotNet.Models;

namespace OrleansCluster.Kubelet.Runtime;

/// <content>Events.</content>
public sealed partial class DockerRuntime
{
    /// <summary>First wait after a broken event stream; doubles up to <see cref="MaxEventRetry"/>.</summary>
    private static readonly TimeSpan MinEventRetry = TimeSpan.FromMilliseconds(100);

    /// <summary>Longest wait after a broken event stream: what an engine's restart may add to the reaction to a crash.</summary>
    private static readonly TimeSpan MaxEventRetry = TimeSpan.FromSeconds(3);

    /// <inheritdoc/>
    public async IAsyncEnumerable<RuntimeEvent> WatchEventsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var delay = MinEventRetry;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            StreamReader? reader = null;
            string? error = null;
            try
            {
                reader = await OpenEventsAsync(cancellationToken);
            }
            catch (Exception e) when (DockerEngine.Translate(e, RuntimeFailure.Unavailable) is { } translated)
            {
                error = translated.Message;
            }

            if (reader is not null)
            {
                using (reader)
                {
                    // Subscribed before the receiver lists: what dies from here on is either in its list or in the stream.
                    yield return new RuntimeEvent(RuntimeEventKind.Resync, "", Pod: null, ContainerName: null);
                    delay = MinEventRetry;
                    while (true)
                    {
                        string? line;
                        try
                        {
                            line = await reader.ReadLineAsync(cancellationToken);
                        }
                        catch (Exception e) when (DockerEngine.Translate(e, RuntimeFailure.Unavailable) is { } translated)
                        {
                            error = translated.Message;
                            break;
                        }

                        if (line is null)
                        {
                            error = "the engine closed it";
                            break;
                        }

                        if (line.Length > 0 && ParseEvent(line) is { } happened)
                        {
                            yield return happened;
                        }
                    }
                }
            }

            Log.EventsBroke(_logger, _options.NodeName, error ?? "unknown", delay);

            // Nodes of one engine share its fate but not their phase: the name's hash spreads them by up to a quarter of the wait.
            var spread = delay * (0.25 * (StableHash(_options.NodeName) % 1000) / 1000);
            await Task.Delay(delay + spread, _time, cancellationToken);
            delay = delay * 2 < MaxEventRetry ? delay * 2 : MaxEventRetry;
        }
    }

    private static uint StableHash(string text) => text.Aggregate(2166136261u, (hash, character) => (hash ^ character) * 16777619u);

    private static RuntimeEvent? ParseEvent(string line)
    {
        using var document = JsonDocument.Parse(line);
        var root = document.RootElement;
        if (!root.TryGetProperty("Action", out var action) || !root.TryGetProperty("Actor", out var actor))
        {
            return null;
        }

        RuntimeEventKind kind;
        switch (action.GetString())
        {
            case "start":
                kind = RuntimeEventKind.Started;
                break;
            case "die":
                kind = RuntimeEventKind.Died;
                break;
            case "oom":
                kind = RuntimeEventKind.OutOfMemory;
                break;
            case "destroy":
                kind = RuntimeEventKind.Removed;
                break;
            default:
                return null;
        }

        var attributes = actor.GetProperty("Attributes");
        var exitCode = Attribute(attributes, "exitCode") is { } text && int.TryParse(text, CultureInfo.InvariantCulture, out var code) ? code : 0;
        return new RuntimeEvent(
            kind,
            actor.GetProperty("ID").GetString() ?? "",
            new PodIdentity(
                Attribute(attributes, DockerLabels.PodNamespace) ?? "",
                Attribute(attributes, DockerLabels.PodName) ?? "",
                Attribute(attributes, DockerLabels.PodUid) ?? ""),
            Attribute(attributes, DockerLabels.ContainerName),
            exitCode);
    }

    private static string? Attribute(JsonElement attributes, string name) =>
        attributes.TryGetProperty(name, out var value) ? value.GetString() : null;

    private async Task<StreamReader> OpenEventsAsync(CancellationToken cancellationToken)
    {
        var filters = OwnFilter(type: null);
        filters["type"] = new Dictionary<string, bool> { ["container"] = true };
        filters["event"] = new Dictionary<string, bool> { ["start"] = true, ["die"] = true, ["oom"] = true, ["destroy"] = true };

        // The overload with a callback does not tell when it is subscribed, and without that a death could fall between list and stream.
#pragma warning disable CS0618
        var stream = await _engine.Client.System.MonitorEventsAsync(new ContainerEventsParameters { Filters = filters }, cancellationToken);
#pragma warning restore CS0618
        return new StreamReader(stream);
    }
}
