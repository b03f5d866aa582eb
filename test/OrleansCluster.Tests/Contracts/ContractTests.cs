using System.Reflection;
using System.Text;

namespace OrleansCluster.Tests;

/// <summary>
/// What goes between silos, clients and nodes of two versions during an upgrade, held against a file under review. A change that an older or newer process
/// does not understand shows here first: adding a method, a message or a member is fine (write the file anew with UPDATE_CONTRACTS=1), renaming, renumbering or
/// removing one is not.
/// </summary>
public sealed class ContractTests
{
    private static readonly string File = Path.Combine(Root(), "src", "OrleansCluster.Abstractions", "OrleansContracts.txt");

    [Fact]
    public async Task GrainContracts_AreThoseOfTheFile()
    {
        var now = Describe();
        if (Environment.GetEnvironmentVariable("UPDATE_CONTRACTS") == "1")
            await System.IO.File.WriteAllTextAsync(File, now, TestContext.Current.CancellationToken);
        var written = await System.IO.File.ReadAllTextAsync(File, TestContext.Current.CancellationToken);
        Assert.True(written == now, "The contracts have changed. Missing: " + string.Join("; ", Lines(written).Except(Lines(now))) + ". New: " + string.Join("; ", Lines(now).Except(Lines(written))));
    }

    private static IEnumerable<string> Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static string Describe()
    {
        var text = new StringBuilder();
        var types = typeof(IObjectGrain).Assembly.GetTypes().OrderBy(t => t.FullName, StringComparer.Ordinal).ToArray();
        foreach (var type in types.Where(t => t.IsInterface && t != typeof(IAddressable) && typeof(IAddressable).IsAssignableFrom(t)))
        {
            foreach (var method in type.GetMethods().OrderBy(m => m.Name, StringComparer.Ordinal))
                text.Append($"call {Alias(type)}.{Alias(method)}({string.Join(", ", method.GetParameters().Select(p => Name(p.ParameterType)))}) : {Name(method.ReturnType)}\n");
        }
        foreach (var type in types.Where(t => t.GetCustomAttribute<GenerateSerializerAttribute>() is not null))
        {
            if (type.IsEnum)
                continue;
            foreach (var (id, member, memberType) in Members(type).OrderBy(m => m.Id))
                text.Append($"member {Alias(type)} {id} {member} : {memberType}\n");
        }
        foreach (var type in types.Where(t => t.IsEnum && t.IsPublic))
        {
            foreach (var value in Enum.GetValuesAsUnderlyingType(type))
                text.Append($"value {type.Name}.{Enum.GetName(type, value)} = {value}\n");
        }
        return text.ToString();
    }

    private static IEnumerable<(uint Id, string Member, string Type)> Members(Type type)
    {
        const BindingFlags Own = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        foreach (var property in type.GetProperties(Own))
        {
            if (property.GetCustomAttribute<IdAttribute>() is { } id)
                yield return (id.Id, property.Name, Name(property.PropertyType));
        }
        foreach (var field in type.GetFields(Own))
        {
            if (field.GetCustomAttribute<IdAttribute>() is { } id)
                yield return (id.Id, field.Name, Name(field.FieldType));
        }
    }

    private static string Alias(MemberInfo member) => member.GetCustomAttribute<AliasAttribute>()?.Alias ?? member.Name;

    private static string Name(Type type) => type.IsGenericType
        ? $"{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>"
        : type.Name;

    internal static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!System.IO.File.Exists(Path.Combine(folder.FullName, "OrleansCluster.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("The tests do not run inside the repository.");
        return folder.FullName;
    }
}
