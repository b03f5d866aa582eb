using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>What this process knows of one resource: the names of its keys, which run and epoch it believes in, and the highest revision it has seen.</summary>
internal sealed class RedisResource
{
    private readonly string _base;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, RedisKey[]> _queues = new(StringComparer.Ordinal);
    private RedisSession? _session;
    private long _known;

    /// <param name="prefix">What all keys begin with.</param>
    /// <param name="name">The resource.</param>
    public RedisResource(string prefix, string name)
    {
        Name = name;
        // One hash tag per resource: all its keys lie in one slot, and a Redis Cluster spreads resources. The tag ends at the first brace.
        _base = $"{{{prefix}:{name.Replace('}', ')')}}}:";
        Meta = _base + "m";
        Objects = _base + "k";
        Values = _base + "v";
        Log = _base + "l";
        Fences = _base + "f";
        Acknowledgements = _base + "g";
        CommitKeys = [Meta, Objects, Values, Log, _base + "c", _base + "o", Fences];
        MetaOnly = [Meta];
        Reading = [Meta, Objects, Values, Log];
    }

    public string Name { get; }

    public RedisKey Meta { get; }

    public RedisKey Objects { get; }

    public RedisKey Values { get; }

    public RedisKey Log { get; }

    public RedisKey Fences { get; }

    public RedisKey Acknowledgements { get; }

    /// <summary>Keys of a commit without queues.</summary>
    public RedisKey[] CommitKeys { get; }

    public RedisKey[] MetaOnly { get; }

    /// <summary>Meta, objects, values, log.</summary>
    public RedisKey[] Reading { get; }

    /// <summary>One opening at a time; the others take over its outcome.</summary>
    public SemaphoreSlim Opening { get; } = new(1);

    /// <summary>What the process believes in, or null before the first use.</summary>
    public RedisSession? Session => Volatile.Read(ref _session);

    /// <summary>The highest revision seen or given out.</summary>
    public long Known => Volatile.Read(ref _known);

    /// <summary>Notes a revision that the store has shown.</summary>
    public void Saw(long revision)
    {
        for (var known = Known; revision > known;)
        {
            var before = Interlocked.CompareExchange(ref _known, revision, known);
            if (before == known)
                return;
            known = before;
        }
    }

    public void Adopt(RedisSession session) => Volatile.Write(ref _session, session);

    /// <summary>Meta and the six keys of a queue; the last is the stream that wakes workers.</summary>
    public RedisKey[] Queue(string queue)
    {
        lock (_gate)
        {
            if (!_queues.TryGetValue(queue, out var keys))
            {
                var name = $"{_base}q:{queue}:";
                _queues[queue] = keys = [Meta, name + "i", name + "r", name + "d", name + "l", name + "a", name + "w"];
            }
            return keys;
        }
    }

    /// <summary>Queues this process has used.</summary>
    public string[] QueueNames
    {
        get
        {
            lock (_gate)
                return [.. _queues.Keys];
        }
    }
}

/// <summary>A run of the server (one life of its process) and the epoch of a resource on it, with the scripts bound to both.</summary>
internal sealed class RedisSession(string run, long epoch, string resource)
{
    private readonly BoundScript?[] _scripts = new BoundScript?[RedisScript.Count];

    public string Run { get; } = run;

    public long Epoch { get; } = epoch;

    /// <summary>In a Redis Cluster the server that owns the resource's slot; found when needed.</summary>
    public System.Net.EndPoint? Owner { get; set; }

    public BoundScript Script(RedisScript script) => _scripts[script.Id] ??= script.Bind(Run, resource);
}
