using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace OrleansCluster.Storage.CrashWriter;

/// <summary>What the writer reports.</summary>
internal enum RecordKind
{
    /// <summary>The store is open; Revision tells where it stands.</summary>
    Ready = 1,

    /// <summary>A commit was acknowledged.</summary>
    Committed = 2,

    /// <summary>A fence was advanced; Revision is its value.</summary>
    Fence = 3,
}

/// <summary>Tells damaged bytes from whole ones.</summary>
internal static class Checksum
{
    public static uint Of(ReadOnlySpan<byte> bytes)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(bytes, hash);
        return BinaryPrimitives.ReadUInt32LittleEndian(hash);
    }
}

/// <summary>
/// One report on the pipe: 32 bytes, less than what a pipe writes in one piece, so a killed writer leaves whole records. It is written after the
/// acknowledgement and before anything that depends on it.
/// </summary>
internal readonly record struct CrashRecord(RecordKind Kind, int Key, CommitKind Commit, long Revision, uint ValueHash)
{
    public const int Size = 32;

    public void Write(Span<byte> buffer)
    {
        buffer.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(buffer, (int)Kind);
        BinaryPrimitives.WriteInt32LittleEndian(buffer[4..], Key);
        BinaryPrimitives.WriteInt32LittleEndian(buffer[8..], (int)Commit);
        BinaryPrimitives.WriteInt64LittleEndian(buffer[12..], Revision);
        BinaryPrimitives.WriteUInt32LittleEndian(buffer[20..], ValueHash);
        BinaryPrimitives.WriteUInt32LittleEndian(buffer[28..], Checksum.Of(buffer[..28]));
    }

    public static CrashRecord Read(ReadOnlySpan<byte> buffer)
    {
        if (BinaryPrimitives.ReadUInt32LittleEndian(buffer[28..]) != Checksum.Of(buffer[..28]))
            throw new InvalidDataException("A record is damaged.");
        return new CrashRecord(
            (RecordKind)BinaryPrimitives.ReadInt32LittleEndian(buffer),
            BinaryPrimitives.ReadInt32LittleEndian(buffer[4..]),
            (CommitKind)BinaryPrimitives.ReadInt32LittleEndian(buffer[8..]),
            BinaryPrimitives.ReadInt64LittleEndian(buffer[12..]),
            BinaryPrimitives.ReadUInt32LittleEndian(buffer[20..]));
    }
}

/// <summary>
/// The value of an object: `checksum|claim|queued|padding`. It says itself what claim and what place in the queue belong to it, so that after a crash
/// the three can be compared.
/// </summary>
internal static class CrashValue
{
    public static byte[] Make(string claim, bool queued, int padding, long stamp)
    {
        var body = $"{claim}|{(queued ? "queued" : "-")}|{stamp}|{new string('x', padding)}";
        return Encoding.ASCII.GetBytes($"{Checksum.Of(Encoding.ASCII.GetBytes(body)):x8}|{body}");
    }

    /// <summary>Claim (empty for none) and whether the object is to be queued.</summary>
    /// <exception cref="InvalidDataException">The value is damaged.</exception>
    public static (string Claim, bool Queued) Parse(byte[] value)
    {
        var text = Encoding.ASCII.GetString(value);
        var parts = text.Split('|');
        if (parts.Length != 5 || !string.Equals(parts[0], $"{Checksum.Of(value.AsSpan(9)):x8}", StringComparison.Ordinal))
            throw new InvalidDataException($"A value is half-written: '{text[..Math.Min(80, text.Length)]}'.");
        return (parts[1], parts[2].Length > 1);
    }
}
