using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;

namespace OrleansCluster.Faults.Histories;

/// <summary>Everything the clients of one run did and saw. Thread-safe while it is recorded.</summary>
internal sealed class History
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = false };

    private readonly long _began = Stopwatch.GetTimestamp();
    private int _lastId;

    public ConcurrentQueue<Operation> Operations { get; init; } = new();

    public ConcurrentQueue<Observer> Observers { get; init; } = new();

    /// <summary>Resources of which only the workload writes the objects: every change in them must be explained by one of its operations.</summary>
    public HashSet<string> Owned { get; init; } = new(StringComparer.Ordinal);

    /// <summary>Only keys that begin like this are owned; empty for all.</summary>
    public string OwnedPrefix { get; set; } = "";

    /// <summary>Keys in owned resources that the cluster itself writes (a key ends with one of these).</summary>
    public HashSet<string> ForeignNames { get; init; } = new(StringComparer.Ordinal) { "kube-root-ca.crt" };

    /// <summary>Field whose values are held exclusively, e.g. a claim: no two objects have the same at one revision.</summary>
    public string ExclusiveField { get; init; } = "claim";

    /// <summary>Lists per resource made when all was quiet at the end, one per endpoint.</summary>
    public ConcurrentQueue<Operation> Final { get; init; } = new();

    /// <summary>Microseconds since the history began.</summary>
    public long Now() => (long)Stopwatch.GetElapsedTime(_began).TotalMicroseconds;

    public int NextId() => Interlocked.Increment(ref _lastId);

    public void Add(Operation operation) => Operations.Enqueue(operation);

    public bool IsOwned(string resource, string key) =>
        Owned.Contains(resource) && key.StartsWith(OwnedPrefix, StringComparison.Ordinal) && !ForeignNames.Any(name => key.EndsWith("/" + name, StringComparison.Ordinal));

    /// <summary>Writes it to a file, so that the checker can be run over it again.</summary>
    public void Save(string path)
    {
        using var stream = File.Create(path);
        JsonSerializer.Serialize(stream, this, Json);
    }

    public static History Load(string path)
    {
        using var stream = File.OpenRead(path);
        return JsonSerializer.Deserialize<History>(stream, Json) ?? throw new InvalidDataException($"{path} holds no history.");
    }
}
