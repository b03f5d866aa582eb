using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Benchmarks;

/// <summary>A peer's figure for the same measurement.</summary>
/// <param name="Value">The figure, in the same unit.</param>
/// <param name="HigherIsBetter">False for times and sizes.</param>
internal sealed record Peer(double Value, bool HigherIsBetter);

/// <summary>Figures: a table for people as they come, and one JSON object per line for programs.</summary>
internal sealed class Report : IAsyncDisposable
{
    /// <summary>Where the peers' figures come from.</summary>
    public const string PeerSource = "kube-apiserver 1.32, etcd, kube-scheduler and kube-controller-manager on a like machine (2 CPUs), measured with the same load";

    private readonly StreamWriter? _json;
    private IScenario? _scenario;

    public Report(string? jsonFile)
    {
        _json = jsonFile is null ? null : new StreamWriter(jsonFile, append: true);
    }

    public void Begin(IScenario scenario)
    {
        _scenario = scenario;
        Console.WriteLine();
        Console.WriteLine($"{scenario.Name}: {scenario.Description}");
        Console.WriteLine($"  (peer: {PeerSource})");
        Console.WriteLine($"  {"metric",-28} {"parameters",-44} {"value",12} {"unit",-12} {"peer",10}  {"ours : peer"}");
    }

    public void Add(string metric, double value, string unit, Peer? peer = null, params (string Name, JsonNode Value)[] parameters)
    {
        var text = string.Join(' ', parameters.Select(p => $"{p.Name}={p.Value}"));
        var ratio = peer is null ? "" : (peer.HigherIsBetter ? value / peer.Value : peer.Value / value).ToString("0.00 'times better'", CultureInfo.InvariantCulture);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"  {metric,-28} {text,-44} {Number(value),12} {unit,-12} {(peer is null ? "" : Number(peer.Value)),10}  {ratio}").TrimEnd());
        if (_json is null)
            return;
        var line = new JsonObject
        {
            ["scenario"] = _scenario!.Name,
            ["metric"] = metric,
            ["value"] = Math.Round(value, 3),
            ["unit"] = unit,
            ["parameters"] = new JsonObject(parameters.Select(p => KeyValuePair.Create(p.Name, (JsonNode?)p.Value.DeepClone()))),
        };
        if (peer is not null)
            line["peer"] = peer.Value;
        _json.WriteLine(line.ToJsonString(JsonSerializerOptions.Default));
        _json.Flush();
    }

    public async ValueTask DisposeAsync()
    {
        if (_json is not null)
            await _json.DisposeAsync();
    }

    private static string Number(double value) =>
        value.ToString(Math.Abs(value) >= 100 ? "#,0" : "0.##", CultureInfo.InvariantCulture);
}
