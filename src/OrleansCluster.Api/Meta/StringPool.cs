using System.Text;

namespace OrleansCluster.Api;

/// <summary>
/// Shares the texts that repeat over thousands of objects: label keys and values, namespaces, node names. Direct-mapped and bounded: a text
/// that meets another in its slot replaces it, so the pool holds the recent ones. Safe for use by all threads: slots are single references.
/// </summary>
internal sealed class StringPool
{
    /// <summary>Longer texts are hardly ever the same in two objects.</summary>
    private const int MaxLength = 64;

    /// <summary>Slots: 8,192 × (8 bytes + a short text), half a megabyte when full.</summary>
    private const int Slots = 8192;

    private readonly string?[] _slots = new string?[Slots];

    /// <summary>The pool of this process.</summary>
    public static StringPool Shared { get; } = new();

    /// <summary>The text of ASCII bytes, shared if possible; other bytes are decoded as UTF-8.</summary>
    public string Get(ReadOnlySpan<byte> utf8)
    {
        if (utf8.Length == 0)
            return "";
        if (utf8.Length > MaxLength)
            return Encoding.UTF8.GetString(utf8);
        ref var slot = ref _slots[Hash(utf8) & (Slots - 1)];
        var present = slot;
        if (present is not null && Ascii.Equals(utf8, present))
            return present;
        var text = Encoding.UTF8.GetString(utf8);
        slot = text;
        return text;
    }

    private static uint Hash(ReadOnlySpan<byte> utf8)
    {
        var hash = 2166136261u;
        foreach (var b in utf8)
            hash = (hash ^ b) * 16777619u;
        return hash ^ (hash >> 15);
    }
}
