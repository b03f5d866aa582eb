using System.Text;

namespace OrleansCluster.Storage;

/// <summary>
/// Gives the same string for the same bytes, mostly: a direct-mapped table without chains, so it neither grows nor needs clearing. Label keys,
/// namespaces and node names repeat in thousands of objects. Not thread-safe: it belongs to one cache's loop.
/// </summary>
internal sealed class StringPool
{
    // 1,024 entries of 8 bytes; longer texts than this seldom repeat.
    private const int Size = 1024;
    private const int MaxLength = 96;

    private readonly string?[] _table = new string?[Size];

    public string Get(ReadOnlySpan<byte> utf8)
    {
        if (utf8.IsEmpty)
            return "";
        if (utf8.Length > MaxLength)
            return Encoding.UTF8.GetString(utf8);
        Span<char> chars = stackalloc char[MaxLength];
        var length = Encoding.UTF8.GetChars(utf8, chars);
        return Get(chars[..length]);
    }

    public string Get(ReadOnlySpan<char> text)
    {
        if (text.IsEmpty)
            return "";
        ref var slot = ref _table[Hash(text) & (Size - 1)];
        return slot is not null && text.SequenceEqual(slot) ? slot : slot = text.ToString();
    }

    // FNV-1a. The same in every process, unlike the framework's: who shares a place with whom shall not depend on the day. Texts that collide on purpose
    // only cost each other the sharing.
    private static int Hash(ReadOnlySpan<char> text)
    {
        var hash = 2166136261u;
        foreach (var c in text)
            hash = (hash ^ c) * 16777619u;
        return (int)(hash ^ (hash >> 15));
    }
}
