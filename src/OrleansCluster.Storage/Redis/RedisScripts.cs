using System.Security.Cryptography;
using System.Text;

namespace OrleansCluster.Storage;

/// <summary>A script that works on one resource, behind the guard that all of them share.</summary>
internal sealed class RedisScript
{
    private static readonly string Guard = Read("guard");
    private static readonly string Queue = Read("queue");
    private static int s_count;

    private readonly string _body;

    private RedisScript(string name, bool usesQueues = false)
    {
        Id = s_count++;
        Name = name;
        _body = Guard + (usesQueues ? Queue : "") + Read(name);
    }

    public static RedisScript Commit { get; } = new("commit", usesQueues: true);
    public static RedisScript Fence { get; } = new("fence");
    public static RedisScript Revision { get; } = new("revision");
    public static RedisScript Get { get; } = new("get");
    public static RedisScript Page { get; } = new("page");
    public static RedisScript Changes { get; } = new("changes");
    public static RedisScript Compact { get; } = new("compact");
    public static RedisScript Acknowledge { get; } = new("acknowledge");
    public static RedisScript Lease { get; } = new("lease", usesQueues: true);
    public static RedisScript Release { get; } = new("release", usesQueues: true);
    public static RedisScript Complete { get; } = new("complete", usesQueues: true);
    public static RedisScript Wake { get; } = new("wake", usesQueues: true);
    public static RedisScript Statistics { get; } = new("statistics", usesQueues: true);

    /// <summary>Number of scripts.</summary>
    public static int Count => s_count;

    /// <summary>The one script without the guard, because it decides what the guard of the others compares with.</summary>
    public static string Open { get; } = Read("open");

    /// <summary>Arguments that the guard takes before the script's own.</summary>
    public const int HeaderLength = 3;

    public int Id { get; }

    public string Name { get; }

    /// <summary>The text for one run of the server and one resource; see guard.lua.</summary>
    public BoundScript Bind(string run, string resource)
    {
        var text = $"-- {run} {resource.ReplaceLineEndings(" ")}\nlocal RUN = '{run}'\n{_body}";
        return new BoundScript(text, Hash(text));
    }

    private static byte[] Hash(string text)
    {
#pragma warning disable CA5350 // Redis names scripts by SHA-1; nothing rests on its strength.
        return SHA1.HashData(Encoding.UTF8.GetBytes(text));
#pragma warning restore CA5350
    }

    private static string Read(string name)
    {
        using var stream = typeof(RedisScript).Assembly.GetManifestResourceStream($"redis/{name}")
            ?? throw new InvalidOperationException($"The script '{name}' is not in the assembly.");
        using var reader = new StreamReader(stream, Encoding.UTF8);
        var text = reader.ReadToEnd();
        // Comments are for readers of the source; Redis hashes and keeps every byte of a text.
        return string.Concat(text.Split('\n').Where(line => !line.TrimStart().StartsWith("--", StringComparison.Ordinal) && line.Length > 0).Select(line => line + "\n"));
    }
}

/// <summary>A script's text for one run and resource, and its name in Redis.</summary>
internal sealed class BoundScript(string text, byte[] sha)
{
    public string Text { get; } = text;

    public byte[] Sha { get; } = sha;

    /// <summary>The connections' generation (<see cref="RedisConnections.Generation"/>) in which the server was last seen to be the run it is bound to.</summary>
    public int Proved { get; set; } = -1;
}
