using System.Collections;
using System.Reflection;
using System.Text;

namespace OrleansCluster.Tests;

/// <summary>
/// Makes a message of a contract type whose every numbered member has a value that follows from its type and number alone and is not the default, so that the
/// same message can be made again and compared years later.
/// </summary>
internal static class SampleMessage
{
    private const BindingFlags Own = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;

    /// <summary>The message types of the contracts.</summary>
    public static IEnumerable<Type> Types => typeof(IObjectGrain).Assembly.GetTypes()
        .Where(t => !t.IsEnum && t.GetCustomAttribute<GenerateSerializerAttribute>() is not null)
        .OrderBy(Alias, StringComparer.Ordinal);

    /// <summary>The name that goes over the wire.</summary>
    public static string Alias(Type type) => type.GetCustomAttribute<AliasAttribute>()?.Alias ?? type.FullName!;

    /// <summary>Numbered members.</summary>
    public static IEnumerable<(uint Id, PropertyInfo Member)> Members(Type type) => type.GetProperties(Own)
        .Select(p => (p.GetCustomAttribute<IdAttribute>()?.Id, p))
        .Where(m => m.Id is not null)
        .Select(m => (m.Id!.Value, m.p))
        .OrderBy(m => m.Value);

    /// <summary>A message with all members set.</summary>
    public static object Of(Type type)
    {
        var message = System.Runtime.CompilerServices.RuntimeHelpers.GetUninitializedObject(type);
        foreach (var (id, member) in Members(type))
            member.SetValue(message, Value(member.PropertyType, (int)id + 1));
        return message;
    }

    /// <summary>The value of a member, as text for comparison.</summary>
    public static string Show(object? value) => value switch
    {
        null => "null",
        string text => text,
        IDictionary map => "{" + string.Join(", ", map.Keys.Cast<object>().Select(k => $"{Show(k)}: {Show(map[k])}")) + "}",
        IEnumerable items => "[" + string.Join(", ", items.Cast<object?>().Select(Show)) + "]",
        _ when SerializedInFull(value.GetType()) => "(" + string.Join(", ", Members(value.GetType()).Select(m => $"{m.Id}: {Show(m.Member.GetValue(value))}")) + ")",
        IFormattable formattable => formattable.ToString(null, System.Globalization.CultureInfo.InvariantCulture),
        _ => value.ToString()!,
    };

    private static bool SerializedInFull(Type type) => !type.IsEnum && type.GetCustomAttribute<GenerateSerializerAttribute>() is not null;

    private static object Value(Type type, int seed)
    {
        if (Nullable.GetUnderlyingType(type) is { } inner)
            return Value(inner, seed);
        if (type.IsEnum)
            return Enum.GetValues(type).GetValue(seed % (Enum.GetValues(type).Length - 1) + 1)!;
        if (type.IsArray)
        {
            var element = type.GetElementType()!;
            var array = Array.CreateInstance(element, 2);
            array.SetValue(Value(element, seed), 0);
            array.SetValue(Value(element, seed + 1), 1);
            return array;
        }
        if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Dictionary<,>))
        {
            var map = (IDictionary)Activator.CreateInstance(type)!;
            map.Add(Value(type.GetGenericArguments()[0], seed), Value(type.GetGenericArguments()[1], seed));
            return map;
        }
        if (SerializedInFull(type))
            return Of(type);
        return Type.GetTypeCode(type) switch
        {
            TypeCode.Boolean => true,
            TypeCode.Byte => (byte)(64 + seed),
            TypeCode.Int32 => 1000 + seed,
            TypeCode.Int64 => 5_000_000_000L + seed,
            TypeCode.String => $"text {seed} é",
            _ when type == typeof(Guid) => new Guid(seed, 1, 2, Encoding.ASCII.GetBytes("contract")),
            _ when type == typeof(TimeSpan) => TimeSpan.FromMilliseconds(1500 + seed),
            _ when type == typeof(DateTimeOffset) => new DateTimeOffset(2026, 1, seed, 2, 3, 4, TimeSpan.Zero),
            _ => throw new NotSupportedException($"Give {type} a sample value here."),
        };
    }
}
